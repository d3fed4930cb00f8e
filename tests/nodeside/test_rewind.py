"""When data is moved aside, and when it must stay. The real pg_rewind is in tests/lab/test_aside.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tercet.nodeside import aside, rewind

pytestmark = pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux's setpriv")

CONTROL_DATA = """#!/bin/sh
echo "Latest checkpoint's TimeLineID:       3"
echo "Latest checkpoint's PrevTimeLineID:   2"
"""
FAILS = """
echo 'pg_rewind: error: could not open file "x"' >&2
echo 'pg_rewind: error: could not find previous WAL record at 0/1000028' >&2
exit 1
"""


class Place:
    """A data directory, and programs that answer as PostgreSQL's would."""

    def __init__(self, root: Path) -> None:
        self.programs, self.data = root / "bin", root / "17" / "tercet"
        self.programs.mkdir()
        (self.data / "pg_wal").mkdir(parents=True)
        (self.data / "pg_tblspc").mkdir()
        (self.data / "PG_VERSION").write_text("17\n")
        (self.data / "base").write_bytes(b"x" * 100_000)
        self.program("pg_controldata", CONTROL_DATA)
        self.program("psql", "echo 2026-11-26 16:00:00+00")

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(script if script.startswith("#!") else f"#!/bin/sh\necho {name} >> {self.log}\n{script}\n")
        path.chmod(0o755)

    @property
    def log(self) -> Path:
        return self.programs / "log"

    def ran(self, name: str) -> int:
        return self.log.read_text().split().count(name)

    def run(self) -> int:
        return rewind.main(self.programs, ["-D", str(self.data), "--source-server", "host=primary"])

    @property
    def beside(self) -> list[str]:
        return sorted(path.name for path in self.data.parent.iterdir())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(rewind, "AWAY_S", 0.2)
    monkeypatch.setattr(rewind, "PAUSE_S", 0.05)
    return Place(tmp_path)


def test_what_can_be_rewound_is_rewound_once(place: Place) -> None:
    place.program("pg_rewind", f'echo "$@" > {place.data}/words')
    assert place.run() == 0
    assert place.beside == ["tercet"] and place.ran("pg_rewind") == 1
    assert (place.data / "words").read_text().split() == ["-D", str(place.data), "--source-server", "host=primary"]


def test_what_fails_twice_against_a_primary_that_stayed_is_moved_whole(place: Place) -> None:
    place.program("pg_rewind", FAILS)
    assert place.run() == 1
    assert place.ran("pg_rewind") == 2
    [name] = place.beside
    assert re.fullmatch(r"tercet\.aside-\d{8}T\d{6}Z-timeline-3", name)
    kept = aside.examine(place.data, name)
    assert isinstance(kept, aside.Aside), "what moves and what lists agree on name and mark"
    assert kept.reason == 'could not open file "x"; could not find previous WAL record at 0/1000028'
    assert kept.bytes >= 100_000
    assert (Path(kept.path) / "base").read_bytes() == b"x" * 100_000


def test_a_failure_that_passes_moves_nothing(place: Place) -> None:
    place.program("pg_rewind", f"[ $(grep -c pg_rewind {place.log}) = 2 ] && exit 0; {FAILS}")
    assert place.run() == 0
    assert place.beside == ["tercet"]


def test_a_source_that_does_not_answer_is_no_proof(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.program("pg_rewind", FAILS)
    place.program("psql", "exit 2")
    assert place.run() == 1
    assert place.beside == ["tercet"] and place.ran("pg_rewind") == 0
    assert "the data stays as it is" in capsys.readouterr().err


def test_a_source_that_restarts_each_time_is_no_proof(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.program("pg_rewind", FAILS)
    place.program("psql", f"grep -c psql {place.log}")
    assert place.run() == 1
    assert place.beside == ["tercet"] and place.ran("pg_rewind") == rewind.RUNS
    assert "the source did not stay" in capsys.readouterr().err


def test_a_source_that_is_no_primary_any_more_is_no_proof(place: Place) -> None:
    place.program("pg_rewind", FAILS)
    place.program("psql", f"[ $(grep -c psql {place.log}) -gt 1 ] || echo started")
    assert place.run() == 1
    assert place.beside == ["tercet"] and place.ran("pg_rewind") == 1


def test_a_database_that_runs_is_not_moved(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.program("pg_rewind", FAILS)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=place.data, stdin=subprocess.PIPE) as server:
        (place.data / "postmaster.pid").write_text(f"{server.pid}\n{place.data}\n")
        assert place.run() == 1
        assert place.beside == ["tercet"]
        assert f"process {server.pid} runs in it" in capsys.readouterr().err
    assert place.run() == 1, "its file alone, which a crash leaves, does not keep it"
    assert place.beside != ["tercet"]


def test_what_leads_out_of_the_directory_is_not_torn_off(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.program("pg_rewind", FAILS)
    (place.data / "pg_tblspc" / "16400").symlink_to(tmp_path)
    assert place.run() == 1
    assert place.beside == ["tercet"]
    assert "16400 leads out of it" in capsys.readouterr().err


def test_a_move_that_was_broken_off_before_the_rename_leaves_no_mark(place: Place) -> None:
    (place.data / rewind.MARK).write_text(json.dumps({"name": "x"}))
    place.program("pg_rewind", "exit 0")
    assert place.run() == 0
    assert not (place.data / rewind.MARK).exists()
