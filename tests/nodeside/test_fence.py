"""Programs of earlier holders of the lock end, or never start, before a program of a later one does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tercet.nodeside import fence


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "fence"


@contextmanager
def start(folder: Path, term: int, *argv: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-I", "-S", fence.__file__, str(folder), f"{folder}.kept/term", str(term), *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # else a test that failed waits for it


def run(folder: Path, term: int, *argv: str, stdin: str = "") -> tuple[int, str, str]:
    with start(folder, term, *argv) as process:
        stdout, stderr = process.communicate(stdin, timeout=60)
    return process.returncode, stdout, stderr


def begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None and process.stdout.readline() == "begun\n"


def test_the_program_has_its_own_streams_and_status(folder: Path) -> None:
    assert run(folder, 5, "sh", "-c", "cat; echo no >&2; exit 3", stdin="in") == (3, "in", "no\n")
    assert run(folder, 5, "/nowhere")[0] == 127


def test_an_earlier_term_is_refused_for_good(folder: Path, tmp_path: Path) -> None:
    assert run(folder, 5, "true")[0] == 0
    status, _, said = run(folder, 4, "touch", str(tmp_path / "done"))
    assert status == fence.REFUSED
    assert said == "refused: another operator holds the platform's lock since (term 5; this is 4)\n"
    assert not (tmp_path / "done").exists()
    assert run(folder, 5, "true")[0] == 0


def test_the_known_term_outlives_a_reboot(folder: Path) -> None:
    assert run(folder, 5, "true")[0] == 0
    shutil.rmtree(folder)
    assert run(folder, 4, "true")[0] == fence.REFUSED


def test_a_full_disk_is_no_obstacle_once_a_term_is_known(folder: Path) -> None:
    """Nothing grows, and no file is made but in /run."""
    kept = Path(f"{folder}.kept/term")
    assert run(folder, 5, "true")[0] == 0
    before = kept.stat()
    assert run(folder, 12345, "true")[0] == 0
    assert (kept.stat().st_ino, kept.stat().st_size) == (before.st_ino, before.st_size)
    assert [path.name for path in kept.parent.iterdir()] == ["term"]


def test_programs_of_one_term_run_side_by_side(folder: Path) -> None:
    with start(folder, 5, "sh", "-c", "echo begun; read -r line") as first:
        begun(first)
        assert run(folder, 5, "echo", "second") == (0, "second\n", "")
        assert first.communicate("\n", timeout=60) == ("", "")


def test_what_an_earlier_holder_left_has_time_to_end(folder: Path, tmp_path: Path) -> None:
    with start(folder, 4, "sh", "-c", f"echo begun; sleep 1; touch {tmp_path}/whole") as first:
        begun(first)
        assert run(folder, 5, "ls", str(tmp_path))[1].split() == ["fence", "fence.kept", "whole"]
        assert first.wait(60) == 0


def test_what_does_not_end_is_killed_with_its_children(folder: Path) -> None:
    with start(folder, 4, "sh", "-c", "sleep 600 & echo begun; echo $!; exec sleep 600") as first:
        begun(first)
        assert first.stdout is not None
        child = Path("/proc", first.stdout.readline().strip(), "cmdline")  # empty once it is dead
        while "sleep" not in child.read_text():  # it is a shell until then
            time.sleep(0.01)
        assert run(folder, 5, "cat", str(child))[1] == "", "it is dead before the program starts"
        assert first.wait(60) == -9
    assert [name.name for name in folder.iterdir() if name.name.isdigit()] == ["5"]


def test_whatever_the_order_no_earlier_program_runs_beside_a_later_one(folder: Path, tmp_path: Path) -> None:
    """Forty programs of eight terms, started in disorder; each writes a line when it starts and one when it ends."""
    log = tmp_path / "log"
    chance = random.Random(10)
    terms = [term for term in range(1, 9) for _ in range(5)]
    chance.shuffle(terms)
    terms.sort(key=lambda term: term + chance.uniform(0, 4))
    script = f'echo "$1" >> {log}; sleep 0.$2; echo "$1" >> {log}'
    with ExitStack() as stack:
        words = [("sh", "-c", script, "sh", str(term), str(chance.randint(1, 9))) for term in terms]
        started = [stack.enter_context(start(folder, term, *argv)) for term, argv in zip(terms, words, strict=True)]
        for process in started:
            process.communicate(timeout=100)
    seen = [int(line) for line in log.read_text().split()]
    assert seen == sorted(seen)
    assert seen[-1] == 8
