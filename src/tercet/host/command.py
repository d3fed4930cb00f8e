"""Runs a program on this machine to its end, with a time limit, and returns its whole output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from tercet.errors import TercetError
from tercet.host.process import start


class HostCommandError(TercetError):
    """A program on this machine failed. The message names it and has the end of its output."""


async def command(argv: Sequence[str], *, doing: str, stdin: str = "", timeout: float = 10.0) -> str:
    """Run a program to its end and return its standard output.

    Raises HostCommandError if it is missing, exits with a non-zero status, or does not end within `timeout` seconds (it
    is then killed with its children). The message begins with `doing`, such as "start db-sib-01".
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
