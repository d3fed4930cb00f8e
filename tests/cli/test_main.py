"""How a command line ends: its exit status and its last words, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet import __version__

MAIN = "from tercet.cli.main import program; program()"

# A command that waits for what never happens, added as a file, as any command is.
NAP = """
import asyncio
import click
from tercet.cli.command import Command, Section
from tercet.cli.waiting import wait

async def sleep():
    try:
        print("asleep", flush=True)
        await asyncio.Event().wait()
    finally:
        print("tidy", flush=True)

@click.command("nap", cls=Command, help="sleep", section=Section.LOOK, interrupted="Nothing was lost.")
def cli():
    wait(sleep())
"""

# A command that finds the disk full.
FILL = """
import click
from tercet.cli.command import Command, Section

@click.command("fill", cls=Command, help="fill the disk", section=Section.LOOK)
def cli():
    raise OSError(28, "No space left on device", "/x/y")
"""


def tercet(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def napping(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "nap.py").write_text(NAP)
    program = f"from tercet.cli import commands; commands.__path__.append({str(tmp_path)!r}); {MAIN}"
    with subprocess.Popen(
        [sys.executable, "-c", program, "nap"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "asleep\n"
            yield process
        finally:
            process.kill()


def test_ctrl_c_cleans_up_and_says_how_things_stand(napping: subprocess.Popen[str]) -> None:
    napping.send_signal(signal.SIGINT)
    out, err = napping.communicate(timeout=60)
    assert napping.returncode == 130
    assert out == "tidy\n"
    assert err == "\ntercet: interrupted. Nothing was lost.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_clean_up_too(napping: subprocess.Popen[str], number: signal.Signals) -> None:
    napping.send_signal(number)
    out, err = napping.communicate(timeout=60)
    assert (napping.returncode, out, err) == (128 + number, "tidy\n", "")


def test_an_error_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = tercet("validate", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tercet: expected an inventory at tercet.yml, found no such file: ")
    assert "Traceback" not in done.stderr


def fill(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "fill.py").write_text(FILL)
    program = f"from tercet.cli import commands; commands.__path__.append({str(tmp_path)!r}); {MAIN}"
    return subprocess.run(
        [sys.executable, "-c", program, "fill", *words], capture_output=True, text=True, timeout=100, check=False
    )


def test_what_the_machine_refuses_is_one_message_with_a_remedy(tmp_path: Path) -> None:
    done = fill(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "tercet: /x/y: No space left on device: make room on that disk, then run this again\n"


def test_what_the_machine_refuses_has_its_traceback_with_verbose(tmp_path: Path) -> None:
    done = fill(tmp_path, "-v")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "OSError" in done.stderr


def test_a_usage_error_leaves_with_1_since_2_means_changes_pending(tmp_path: Path) -> None:
    assert tercet("validate", "--nonsense", cwd=tmp_path).returncode == 1
    assert tercet(cwd=tmp_path).returncode == 1


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "schema"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=100) == 141
    assert err == ""
    process.stderr.close()


def test_output_that_the_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--help"], cwd=tmp_path, env=env, capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0
    assert b"tercet [OPTIONS] COMMAND" in done.stdout


def test_version(tmp_path: Path) -> None:
    done = tercet("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"tercet {__version__}\n")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """What keeps `tercet --help` within its 200 ms."""
    heavy = [
        "asyncio",
        "cryptography",
        "httpx",
        "pydantic",
        "rich",
        "yaml",
        "tomli_w",
        "tercet.inventory",
        "tercet.converge",
    ]
    program = (
        "import sys\nfrom tercet.cli.main import main\n"
        "main(['--help'])\n"
        f"print(*set(sys.modules) & set({heavy!r}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stderr.strip() == ""
    assert done.returncode == 0
