"""How the tool reaches nodes: one way to run a program there, given by the provider. Nothing else.

Invariant: every call ends within its time limit, whatever the node does. A node that cannot be reached is an
answer (`Unreachable`), not a hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tercet.errors import TercetError


class Unreachable(TercetError):  # noqa: N818 - a finding more than an error
    """The node is stopped, absent or silent; the message says which and what was waited for."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished program: exit code and its output as bytes."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


class Fleet(Protocol):
    """The running nodes."""

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """Run `argv` on the node as root, without a terminal.

        Raises Unreachable if the node does not run or if `timeout` seconds pass; the program on the node is
        then killed too. A non-zero exit is no error here.
        """
        ...

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """Start a long-running program on the node with pipes for stdin, stdout and stderr (drill load, logs).

        The caller ends it: closing its stdin or terminating the process must end the program on the node.
        """
        ...
