from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.host.process import need, run


async def until_gone(pid: int, within: float = 60.0) -> None:
    """Return when the process has ended (a zombie has); fail after `within` seconds."""
    async with asyncio.timeout(within):
        while _runs(pid):
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(path: Path, within: float = 60.0) -> str:
    async with asyncio.timeout(within):
        while not (path.is_file() and path.read_text().strip()):
            await asyncio.sleep(0.02)
    return path.read_text()


async def test_lines_of_both_streams_are_seen_and_stdout_comes_back():
    seen: list[str] = []
    lines = await run(["sh", "-c", "echo one; echo two >&2; printf three"], timeout=60, on_line=seen.append)
    assert lines == ["one", "three"]
    assert sorted(seen) == ["one", "three", "two"]


async def test_a_failure_shows_its_last_output():
    with pytest.raises(TercetError, match=r"the thing left with status 3; its last output:\n  no luck"):
        await run(["sh", "-c", "echo no luck; exit 3"], timeout=60, what="the thing")
    with pytest.raises(TercetError, match=r"sh left with status 1; its last output:\n  the reason$"):
        await run(["sh", "-c", "echo the reason >&2; seq 1000; exit 1"], timeout=60)


async def test_a_program_that_is_not_there():
    with pytest.raises(TercetError, match=r"failed to execute no-such-program"):
        await run(["no-such-program"], timeout=60)
    with pytest.raises(TercetError, match="apt-get install some-package"):
        need("no-such-program", "some-package")


GRANDCHILD = 'sh -c "trap \\"\\" TERM; echo \\$\\$ > {file}; sleep 600" & wait'


async def test_the_deadline_ends_grandchildren_that_ignore_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tercet.host.process.GRACE", 0.2)
    file = tmp_path / "pid"
    for timeout in (1, 10, 60):  # longer where that was not enough to start it
        with pytest.raises(TercetError, match=rf"did not finish within {timeout} s"):
            await run(["sh", "-c", GRANDCHILD.format(file=file)], timeout=timeout)
        if file.exists():
            break
    await until_gone(int(file.read_text()))


async def test_cancelling_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tercet.host.process.GRACE", 0.2)
    file = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", GRANDCHILD.format(file=file)], timeout=600))
    pid = int(await until(file))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(pid)


async def test_a_killed_tool_leaves_no_orphan(tmp_path: Path):
    file = tmp_path / "pid"
    script = (
        "import asyncio; from tercet.host.process import run; "
        f"asyncio.run(run(['sh', '-c', 'echo $$ > {file}; exec sleep 600'], timeout=600))"
    )
    tool = subprocess.Popen([sys.executable, "-c", script])
    pid = int(await until(file))
    os.kill(tool.pid, signal.SIGKILL)
    tool.wait(60)
    await until_gone(pid)


async def test_cancelling_while_it_starts_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tercet.host.process.GRACE", 0.2)
    file = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", GRANDCHILD.format(file=file)], timeout=600))
    for _ in range(2):
        await asyncio.sleep(0)  # after these it is started, and asyncio has not connected its pipes yet
    ends = time.monotonic() + 60
    while not (file.is_file() and file.read_text().strip()) and time.monotonic() < ends:
        time.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    await until_gone(int(file.read_text()))
