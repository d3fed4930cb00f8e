"""When data is moved aside, and when it must stay. The real pg_rewind is in tests/lab/test_aside.py."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.datafile import text_of
from tercet.nodeside import aside, rewind

pytestmark = pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux's setpriv")

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
        self.control = self.data / "global" / "pg_control"
        self.control.parent.mkdir()
        self.control.write_bytes(b"as before the rewind")
        self.program("pg_controldata", "exit 1")
        self.program("psql", "echo 2026-11-26 16:00:00+00")
        self.settings = root / "aside.json"
        self.settings.write_text(json.dumps({"data": str(self.data), "programs": str(self.programs)}))

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\necho {name} >> {self.log}\n{script}\n")
        path.chmod(0o755)

    @property
    def log(self) -> Path:
        return self.programs / "log"

    def ran(self, name: str) -> int:
        return self.log.read_text().split().count(name)

    def run(self) -> int:
        words = ["-D", str(self.data), "--source-server", "host=primary"]
        return rewind.main(str(self.programs), [str(aside.__file__), str(self.settings)], words)

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
    words = [rewind.SYNC, "-D", str(place.data), "--source-server", "host=primary"]
    assert (place.data / "words").read_text().split() == words


def test_what_fails_twice_against_a_primary_that_stayed_is_moved_whole(place: Place) -> None:
    place.program("pg_rewind", FAILS)
    assert place.run() == 1
    assert place.ran("pg_rewind") == 2
    assert not place.data.exists()
    [kept] = aside.all_aside(place.data)
    assert kept.reason == 'could not open file "x"; could not find previous WAL record at 0/1000028'


def test_a_failure_that_passes_moves_nothing(place: Place) -> None:
    place.program("pg_rewind", f"[ $(grep -c pg_rewind {place.log}) = 2 ] && exit 0; {FAILS}")
    assert place.run() == 0
    assert place.beside == ["tercet"]


def test_data_that_a_rewind_left_half_written_are_marked_until_one_has_worked(place: Place) -> None:
    mark = place.data.with_name("tercet.rewinding")
    place.program("pg_rewind", f"cp {mark} {place.programs}/seen; {FAILS}")
    place.program("psql", f"[ $(grep -c psql {place.log}) -gt 1 ] || echo started")  # the source goes away
    assert place.run() == 1
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    control = hashlib.sha256(place.control.read_bytes()).hexdigest()
    assert mark.read_text() == f"{place.data.stat().st_ino} {boot} {control}\n" == (place.programs / "seen").read_text()
    place.program("psql", "echo started")
    place.program("pg_rewind", "exit 0")
    assert place.run() == 0
    assert place.beside == ["tercet"]


def test_what_cannot_be_marked_is_not_rewound(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.data.with_name("tercet.rewinding").mkdir()
    place.program("pg_rewind", "exit 0")
    assert place.run() == 1
    assert not place.log.exists() or "pg_rewind" not in place.log.read_text()
    assert "cannot mark" in capsys.readouterr().err


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
    assert place.data.exists() and place.ran("pg_rewind") == rewind.RUNS
    assert "the source did not stay" in capsys.readouterr().err


def test_a_source_that_is_no_primary_any_more_is_no_proof(place: Place) -> None:
    place.program("pg_rewind", FAILS)
    place.program("psql", f"[ $(grep -c psql {place.log}) -gt 1 ] || echo started")
    assert place.run() == 1
    assert place.data.exists() and place.ran("pg_rewind") == 1


def test_a_rewind_does_not_outlive_who_started_it(place: Place) -> None:
    """Patroni ends it by killing this program; then PostgreSQL is started on the same data."""
    place.program("pg_rewind", f"echo $$ > {place.programs}/pid; exec sleep 60")
    words = [str(place.programs), aside.__file__, str(place.settings), "-D", str(place.data), "--source-server", "x"]
    with subprocess.Popen([sys.executable, rewind.__file__, *words]) as program:
        try:
            wait_until(lambda: (place.programs / "pid").exists() and (place.programs / "pid").read_text() != "")
        finally:
            program.kill()
    pid = int((place.programs / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


# Starting a server


COMPLETE = "echo 'Database cluster state:               in archive recovery'"


Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(place: Place) -> Start:
    """Patroni's call of the program that stands for postgres."""
    script = text_of(
        "tercet.components.patroni",
        "postgres.sh",
        DATA=place.data,
        PROGRAMS=place.programs,
        ASIDE=aside.__file__,
        ASIDE_SETTINGS=place.settings,
        LEADER=f"file://{place.programs}/leader",
        REFUSALS=3,
    )
    place.program("postgres", 'echo "started $@"')

    def call(*words: str) -> tuple[int, str]:
        argv = ["sh", "-c", script, "sh", *(words or ("-D", str(place.data), "--port=5432"))]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout

    return call


def test_a_server_starts_on_data_that_no_rewind_has_touched(place: Place, start: Start) -> None:
    assert start() == (0, f"started -D {place.data} --port=5432\n")
    rewind.mark(str(place.data))
    place.data.rename(place.data.with_name("older"))
    shutil.copytree(place.data.with_name("older"), place.data)  # a clone: the mark is not its own
    assert start()[0] == 0


def test_no_server_starts_on_half_written_data(place: Place, start: Start) -> None:
    rewind.mark(str(place.data))
    assert start() == (1, "a rewind left the data half-written; not started until a rewind has worked\n")
    place.control.write_bytes(b"pg_rewind recovered the data in single-user mode first")
    place.program("pg_controldata", "echo 'Database cluster state:               shut down'")
    assert start()[0] == 1
    assert start("-D", str(place.data), "-C", "archive_mode")[0] == 0
    assert start("--single", "-D", str(place.data))[0] == start("--describe-config")[0] == 0
    assert place.data.exists()


def test_half_written_data_that_patroni_does_not_rewind_is_moved_aside(place: Place, start: Start) -> None:
    """Seen: where WAL was missing, Patroni could not tell that a rewind was due, and tried to start it forever."""
    rewind.mark(str(place.data))
    leader = place.programs / "leader"
    assert [start()[0] for _ in range(5)] == [1] * 5 and place.data.exists(), "nobody leads"
    leader.write_text(os.uname().nodename)
    assert [start()[0] for _ in range(5)] == [1] * 5 and place.data.exists(), "nobody else leads"
    leader.write_text("another")
    assert [(start()[0], place.data.exists()) for _ in range(3)] == [(1, True), (1, True), (1, False)]
    [kept] = aside.all_aside(place.data)
    assert kept.reason == "a rewind left the data half-written"
    assert not place.data.with_name("tercet.rewinding").exists()


def test_a_rewind_that_was_killed_at_its_end_is_complete(place: Place, start: Start) -> None:
    rewind.mark(str(place.data))
    place.control.write_bytes(b"written last")
    place.program("pg_controldata", COMPLETE)
    assert start() == (0, f"started -D {place.data} --port=5432\n")
    assert place.beside == ["tercet"]


def test_it_is_not_complete_if_the_machine_crashed_then(place: Place, start: Start) -> None:
    rewind.mark(str(place.data))
    mark = place.data.with_name("tercet.rewinding")
    inode, _, control = mark.read_text().split()
    mark.write_text(f"{inode} another-boot {control}\n")
    place.control.write_bytes(b"written last")
    place.program("pg_controldata", COMPLETE)
    assert start()[0] == 1
    assert not place.data.exists()
    [kept] = aside.all_aside(place.data)
    assert kept.reason == "the machine crashed at the end of a rewind"


def wait_until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)
