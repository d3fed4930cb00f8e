"""What is removed, in which order and when; and above all what is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tercet.nodeside import aside

NOW = 1_795_000_000.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A node's database."""
    data = tmp_path / "17" / "tercet"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    return data


def moved(data: Path, days: float) -> str:
    """Another database that was moved aside so many days ago: its name."""
    away = data.rename(data.with_name("away"))
    (data / "base" / "5").mkdir(parents=True)
    (data / "base" / "5" / "16384").write_text("the only copy")
    name = aside.move(data, "3", "no WAL", NOW - days * aside.DAY_S).name
    away.rename(data)
    return name


def names(data: Path) -> list[str]:
    return [each.name for each in aside.all_aside(data)]


def free(monkeypatch: pytest.MonkeyPatch, *percents: float) -> None:
    """What the disk has free at one look after another; the last one stays."""
    left = list(percents)
    monkeypatch.setattr(aside, "free_percent", lambda _: left.pop(0) if len(left) > 1 else left[0])


def test_what_is_too_old_goes_and_the_rest_stays(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 90.0)
    _, young = moved(data, 14.1), moved(data, 13.9)
    aside.clean(data, 14, 20, NOW)
    assert names(data) == [young]
    assert {path.name for path in data.parent.iterdir()} == {"tercet", young}


def test_age_removes_nothing_while_the_node_has_no_database(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 90.0)
    old = moved(data, 100)
    (data / "PG_VERSION").unlink()
    aside.clean(data, 14, 20, NOW)
    assert names(data) == [old]


def test_where_room_is_needed_the_oldest_goes_first_and_no_more_than_is_needed(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    younger, oldest, youngest = moved(data, 3), moved(data, 5), moved(data, 1)
    free(monkeypatch, 12.0, 12.0, 25.0)
    aside.clean(data, 14, 20, NOW)
    assert names(data) == [younger, youngest]
    assert oldest in (said := capsys.readouterr().out) and "12.0 % of the disk is free, 20 % must be" in said


@pytest.mark.parametrize(
    "name", ["tercet", "tercet.failed", "..", "tercet.aside-x", "other.aside-20261126T162300Z-timeline-3"]
)
def test_another_name_is_refused(data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert aside.main({"data": str(data)}, ["remove", name]) == 1
    assert "expected a name such as tercet.aside-20261126T162300Z-timeline-3" in capsys.readouterr().err
    assert (data / "PG_VERSION").exists()


NAME = "tercet.aside-20261126T162300Z-timeline-3"


def refused(data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert names(data) == []
    assert aside.main({"data": str(data)}, ["remove", NAME]) == 1
    assert data.with_name(NAME).exists()
    return capsys.readouterr().err


def test_a_directory_without_a_mark_is_somebody_elses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.with_name(NAME).mkdir()
    assert f"there is no {data.with_name(NAME)}/{aside.MARK}" in refused(data, capsys)


def test_a_mark_that_names_another_is_somebody_elses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.with_name(NAME).mkdir()
    mark = {"name": moved(data, 1), "bytes": 1, "moved": 1, "reason": ""}
    aside.main({"data": str(data)}, ["remove", mark["name"]])  # type: ignore[list-item]
    (data.with_name(NAME) / aside.MARK).write_text(json.dumps(mark))
    assert "names tercet.aside-" in refused(data, capsys)


@pytest.mark.parametrize(
    "mark", ["", "[]", "{}", '{"name": 3', '{"name": "x", "bytes": "y", "moved": 1, "reason": ""}']
)
def test_a_torn_mark_proves_nothing(data: Path, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    data.with_name(NAME).mkdir()
    (data.with_name(NAME) / aside.MARK).write_text(mark)
    assert "cannot be read" in refused(data, capsys)


def test_a_link_to_another_place_is_not_followed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / aside.MARK).write_text(json.dumps({"name": NAME, "bytes": 1, "moved": 1, "reason": ""}))
    data.with_name(NAME).symlink_to(target)
    assert "no directory of this user" in refused(data, capsys)
    assert target.exists()


def test_a_link_inside_is_removed_not_what_it_leads_to(data: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    name = moved(data, 1)
    (data.with_name(name) / "pg_wal").symlink_to(precious)
    (data.with_name(name) / "base" / "link").symlink_to(precious)
    assert aside.main({"data": str(data)}, ["remove", name]) == 0
    assert not data.with_name(name).exists() and (precious / "file").exists()


@contextmanager
def server(data: Path, tmp_path: Path) -> Iterator[None]:
    """A process that looks like PostgreSQL's in this directory."""
    program = tmp_path / "postgres"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"], cwd=data) as process:
        try:
            # The kernel closes the pipe that Popen waits for a moment before it gives the process its name.
            while Path(f"/proc/{process.pid}/comm").read_text() != "postgres\n":
                time.sleep(0.01)
            yield
        finally:
            process.kill()


def test_one_that_a_server_runs_in_stays(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = moved(data, 1)
    with server(data.with_name(name), tmp_path):
        assert aside.main({"data": str(data)}, ["remove", name]) == 1
    assert "stays: PostgreSQL runs in it" in capsys.readouterr().err
    assert aside.main({"data": str(data)}, ["remove", name]) == 0


def controlled(data: Path, tmp_path: Path, script: str) -> dict[str, object]:
    """The settings of a node whose pg_controldata is this script."""
    (tmp_path / "pg_controldata").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "pg_controldata").chmod(0o755)
    (data / "pg_wal").mkdir()
    (data / "pg_tblspc").mkdir()
    return {"data": str(data), "programs": str(tmp_path)}


CONTROL = """
echo "Latest checkpoint's TimeLineID:       3"
echo "Latest checkpoint's PrevTimeLineID:   2"
"""


@pytest.mark.parametrize(("script", "timeline"), [(CONTROL, "3"), ("exit 1", "unknown")])
def test_a_database_is_moved_whole(data: Path, tmp_path: Path, script: str, timeline: str) -> None:
    (data / "base").write_bytes(b"x" * 100_000)
    assert aside.main(controlled(data, tmp_path, script), ["move", "no WAL"]) == 0
    assert not data.exists()
    [kept] = aside.all_aside(data)
    assert re.fullmatch(rf"tercet\.aside-\d{{8}}T\d{{6}}Z-timeline-{timeline}", kept.name)
    assert kept.reason == "no WAL" and kept.bytes >= 100_000
    assert (Path(kept.path) / "base").read_bytes() == b"x" * 100_000


def test_what_must_not_be_moved_stays(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = controlled(data, tmp_path, CONTROL)
    with server(data, tmp_path):
        assert aside.main(config, ["move", "no WAL"]) == 1
    assert "PostgreSQL runs in it" in capsys.readouterr().err
    (data / "pg_tblspc" / "16400").symlink_to(tmp_path)
    assert aside.main(config, ["move", "no WAL"]) == 1
    assert "16400 leads out of it" in capsys.readouterr().err
    (data / "PG_VERSION").unlink()
    assert aside.main(config, ["move", "no WAL"]) == 1
    assert "it holds no database" in capsys.readouterr().err
    assert data.exists() and aside.all_aside(data) == []


def test_a_move_that_fails_leaves_the_database(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = controlled(data, tmp_path, CONTROL)

    def refuse(_: Path, _target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        assert aside.main(config, ["move", "no WAL"]) == 1
    assert "cannot be moved aside" in capsys.readouterr().err
    assert (data / "PG_VERSION").exists() and aside.all_aside(data) == []
    assert aside.main(config, ["move", "no WAL"]) == 0, "a mark that was left is no hindrance"


def test_a_removal_that_was_broken_off_is_gone_on_with(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = moved(data, 1)
    (data.with_name(name) / "zz").mkdir()

    def broken(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(aside.shutil, "rmtree", broken)
        with pytest.raises(KeyboardInterrupt):
            aside.main({"data": str(data)}, ["remove", name])
    assert names(data) == [name], "its mark goes last"
    assert aside.main({"data": str(data)}, ["remove", name]) == 0
    assert [path.name for path in data.parent.iterdir()] == ["tercet"]


def test_the_list_is_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer, older = moved(data, 1), moved(data, 2)
    assert aside.main({"data": str(data)}, ["list"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert 0 <= said["free_percent"] <= 100
    assert [each["name"] for each in said["aside"]] == [older, newer]
    assert said["aside"][0]["reason"] == "no WAL" and said["aside"][0]["moved"] == int(NOW - 2 * aside.DAY_S)
