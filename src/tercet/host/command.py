"""A program on this machine that has one answer: run to its end, with all of its output at once, and a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from tercet.errors import TercetError
from tercet.host.process import start


class HostCommandError(TercetError):
    """A program on the machine failed; the message names it and holds its last words."""


async def command(argv: Sequence[str], *, doing: str, stdin: str = "", timeout: float = 10.0) -> str:
    """Run a program to its end and return its standard output.

    HostCommandError if it is missing, exits non-zero, or does not end in `timeout` seconds (it is then
    killed with its children). `doing` opens the message: "start db-sib-01".
    """
    try:
        process = await start(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise HostCommandError(
            f"{doing}: the program {argv[0]} is not installed; `tercet doctor` says what this machine lacks"
        ) from None
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate(stdin.encode())
    except TimeoutError:
        raise HostCommandError(f"{doing}: {argv[0]} did not end within {timeout:g} s and was killed") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        words = stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise HostCommandError(f"{doing}: {argv[0]} failed with status {process.returncode}: {' / '.join(words[-3:])}")
    return stdout.decode(errors="replace")
