"""A question to the person at the terminal."""

from __future__ import annotations

import sys


def somebody_is_here() -> bool:
    """Standard input is a terminal."""
    return sys.stdin.isatty()


async def typed(question: str) -> str:
    """The line that is typed after the question, without surrounding blanks; "" if input ends.

    The event loop continues in the meantime, so connections stay alive, and Ctrl-C or SIGTERM ends the command as
    usual.
    """
    import asyncio  # noqa: PLC0415 - `tercet --help` imports this module

    sys.stderr.write(question)
    sys.stderr.flush()
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip()  # does not block: a terminal gives whole lines
