"""What `consul recover` runs on the node, with a systemctl and a folder of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tercet.components.consul.component import DATA
from tercet.operations.recover import FORGET


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "consul"
    (folder / "raft").mkdir(parents=True)
    (folder / "raft" / "raft.db").write_text("old")
    (folder / ".hidden").write_text("old")
    return folder


def forget(folder: Path, *, find: str = "", refuse: str = "none") -> tuple[int, list[str]]:
    """Exit status, and what systemctl was asked to do; it refuses `refuse`."""
    programs = folder.parent / "programs"
    programs.mkdir()
    log = programs / "log"
    log.touch()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$1" >> {log}\n[ "$1" != {refuse} ]\n')
    if find:
        (programs / "find").write_text(f"#!/bin/sh\n{find}\n")
    for program in programs.glob("[fs]*"):
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", FORGET.replace(DATA, str(folder))],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    return done.returncode, log.read_text().split()


@pytest.mark.parametrize("refuse", ["none", "reset-failed"])
def test_all_data_go_and_the_server_starts(data: Path, refuse: str) -> None:
    assert forget(data, refuse=refuse) == (0, ["stop", "reset-failed", "start"])
    assert list(data.iterdir()) == []


def test_data_that_are_gone_already_are_no_failure(data: Path) -> None:
    subprocess.run(["rm", "-r", data], check=True, timeout=60)
    assert forget(data) == (0, ["stop", "reset-failed", "start"])


def test_a_server_whose_data_could_not_be_deleted_is_not_started(data: Path) -> None:
    status, asked = forget(data, find="echo 'Operation not permitted' >&2; exit 1")
    assert status == 1 and asked == ["stop"]


@pytest.mark.parametrize("refuse", ["stop", "start"])
def test_a_server_that_does_not_stop_or_start_is_a_failure(data: Path, refuse: str) -> None:
    status, _ = forget(data, refuse=refuse)
    assert status == 1
