"""The interface through which the tool runs programs on nodes. Each provider implements it.

Invariant: every call ends within its time limit, whatever the node does. A node that cannot be reached is an error
(`Unreachable`), not a hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tercet.errors import TercetError


class Unreachable(TercetError):  # noqa: N818 - a finding more than an error
    """The node is stopped, absent or silent. The message says which, and what was waited for."""


def brief(command: str, limit: int = 80) -> str:
    """The beginning of a command, on one line, for an error message."""
    line = " ".join(command.split())
    return line if len(line) <= limit else f"{line[:limit]}…"


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished program: its exit code and its output as bytes."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


class Fleet(Protocol):
    """The running nodes."""

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """Run `argv` on the node as root, without a terminal.

        Raises Unreachable if the node does not run, or after `timeout` seconds; the program on the node is then killed.
        A non-zero exit status is not an error here.
        """
        ...

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """Start a long-running program on the node with pipes for stdin, stdout and stderr (drill load, logs).

        The caller ends it: closing its stdin or terminating the process must end the program on the node.
        """
        ...
