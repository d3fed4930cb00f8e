"""Runs programs on the operator's machine: output line by line, with a deadline, and without leaving processes behind.

Invariant: when `run` returns or raises, cancelled or not, the program's whole process group is gone. If this process is
killed, the kernel ends the program (setpriv --pdeathsig).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tercet.errors import TercetError

GRACE = 10.0  # seconds between SIGTERM and SIGKILL; mmdebstrap unmounts its file systems in that time
TAIL = 15  # number of last lines of output in an error message


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    what: str = "",
) -> list[str]:
    """Run `argv` for at most `timeout` seconds and return the lines of its stdout.

    `on_line` is called with each line of stdout and stderr as it arrives. Raises TercetError if the program does not
    exist, fails or takes longer. The message calls the program `what` (default: argv[0]), and has the end of its
    stderr, or else of its stdout.
    """
    what = what or argv[0]
    try:
        process = await start(
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            cwd=cwd,
            env=None if env is None else dict(env),
        )
    except OSError as error:
        raise TercetError(f"cannot start {what}: {error}") from error
    lines: list[str] = []
    errors: list[str] = []
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(_read(process.stdout, lines, on_line), _read(process.stderr, errors, on_line))
            status = await process.wait()
    except TimeoutError as error:
        raise TercetError(
            f"{what} did not finish within {timeout:.0f} s; its last output:\n{tail(errors or lines)}"
        ) from error
    finally:
        await _end(process)
    if status != 0:
        raise TercetError(f"{what} left with status {status}; its last output:\n{tail(errors or lines)}")
    return lines


@asynccontextmanager
async def running(*argv: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, in a process group of its own, until the block ends. If this process is killed, the kernel ends
    the program. Raises OSError.
    """
    process = await start("setpriv", "--pdeathsig", "KILL", "--", *argv, **options)
    try:
        yield process
    finally:
        await _end(process)


async def start(*argv: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a program as the leader of a process group. The group is ended if the caller is cancelled meanwhile.

    asyncio alone would kill only the program, and wait until its children have closed their pipes.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*argv, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(_end_started(starting))
        raise


async def _end_started(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    with suppress(OSError):
        await _insist(await starting)


async def _read(stream: asyncio.StreamReader | None, lines: list[str], on_line: Callable[[str], None] | None) -> None:
    if stream is None:
        return
    async for raw in stream:
        line = raw.decode(errors="replace").rstrip()
        lines.append(line)
        if on_line is not None:
            on_line(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process group: SIGTERM, a wait, SIGKILL. The shield protects this from a second cancellation."""
    if process.returncode is not None and not _group_alive(process.pid):
        return
    await asyncio.shield(_insist(process))


async def _insist(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for stream in (process.stdout, process.stderr):  # read to the end, which closes the pipe
        with suppress(TimeoutError):
            await asyncio.wait_for(stream.read() if stream else asyncio.sleep(0), 1.0)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def tail(lines: Sequence[str]) -> str:
    """The last lines of an output, indented, for an error message."""
    return "\n".join(f"  {line}" for line in deque(lines, TAIL)) or "  (none)"


def need(program: str, package: str) -> None:
    """Raise TercetError unless `program` can be found. `package` is the Debian package that contains it."""
    if shutil.which(program) is None:
        raise TercetError(f"the program {program} is needed on this machine; run: apt-get install {package}")
