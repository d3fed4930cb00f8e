"""PostgreSQL without Patroni: the script that decides where it may be started, and how."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.components.patroni.readonly import PROGRAM, readonly
from tercet.components.sandbox import PLAIN
from tercet.converge.resources import File


class Place:
    """A data directory, and the script over it."""

    def __init__(self, root: Path) -> None:
        self.programs, self.data = root / "bin", root / "tercet"
        self.programs.mkdir()
        (self.data / "global").mkdir(parents=True)
        (self.data / "global" / "pg_control").write_text("x")
        (self.programs / "postgres").write_text(f'#!/bin/sh\necho "$@" > {root}/started\n')
        (self.programs / "postgres").chmod(0o755)
        self.started = root / "started"
        (script,) = [
            r for r in readonly(str(self.programs), str(self.data), PLAIN) if isinstance(r, File) and r.mode == 0o755
        ]
        assert script.path == PROGRAM and isinstance(script.content, bytes)
        self._script = script.content.decode()

    def run(self, *words: str) -> bool:
        return subprocess.run(["sh", "-c", self._script, "sh", *words], timeout=30, check=False).returncode == 0

    def mark(self, inode: int) -> None:
        self.data.with_name("tercet.rewinding").write_text(f"{inode} boot control\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_it_is_started_as_a_standby(place: Place) -> None:
    assert place.run()
    assert not place.started.exists() and not (place.data / "standby.signal").exists()
    assert place.run("start")
    assert (place.data / "standby.signal").read_bytes() == b""
    assert place.started.read_text() == f"-D {place.data}\n"


def test_what_was_the_primary_follows_nobody_so_that_patroni_compares_it_with_the_next_one(place: Place) -> None:
    """Seen: it went on where it was, on the old timeline, for as long as anybody waited."""
    settings = place.data / "postgresql.conf"
    settings.write_text("primary_conninfo = 'host=db-sib-03'\n")
    assert place.run("start") and place.run("start")
    assert settings.read_text() == "primary_conninfo = 'host=db-sib-03'\nprimary_conninfo = ''\n"


def test_what_was_a_standby_follows_whom_it_followed(place: Place) -> None:
    (place.data / "standby.signal").touch()
    assert place.run("start")
    assert not (place.data / "postgresql.conf").exists()


def without_data(place: Place) -> None:
    (place.data / "global" / "pg_control").unlink()


def half_rewound(place: Place) -> None:
    place.mark(place.data.stat().st_ino)


def paused(place: Place) -> None:
    (place.data / "patroni.dynamic.json").write_text('{"loop_wait":1,"pause":true,"ttl":20}')


@pytest.mark.parametrize("state", [without_data, half_rewound, paused])
def test_it_is_not_started_there(place: Place, state: Callable[[Place], None]) -> None:
    state(place)
    assert not place.run()
    assert not place.run("start")
    assert not place.started.exists() and not (place.data / "standby.signal").exists()


def test_a_mark_of_data_that_are_gone_and_a_pause_that_ended_hinder_nobody(place: Place) -> None:
    place.mark(place.data.stat().st_ino + 1)
    (place.data / "patroni.dynamic.json").write_text('{"loop_wait":1,"pause":false}')
    assert place.run()


@pytest.mark.parametrize("sign", ["", "-"])  # a single-user backend writes its number with a minus
def test_no_second_one_is_started(place: Place, tmp_path: Path, sign: str) -> None:
    shutil.copy("/bin/sleep", tmp_path / "postgres")
    with subprocess.Popen([tmp_path / "postgres", "60"]) as running:
        try:
            (place.data / "postmaster.pid").write_text(f"{sign}{running.pid}\n{place.data}\n")
            assert not place.run()
        finally:
            running.kill()
    assert place.run(), "a number that a crash left behind"
