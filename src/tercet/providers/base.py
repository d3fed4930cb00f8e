"""What a provider is: where containers come from and how they are reached. Lab and Proxmox differ only here.

A provider finds its platform again from what exists (running containers, tags); it keeps no state file.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.plan import Change


class Provider(Fleet, Protocol):
    """One platform's containers."""

    def lock(self, who: str) -> AbstractAsyncContextManager[None]:
        """Held while anything is changed. Raises TercetError naming the holder, since when and what it does."""
        ...

    async def survey(self) -> tuple[Change, ...]:
        """Compare containers, networks and links with the inventory: the changes that are needed, in order."""
        ...

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """Carry out exactly these changes (from `survey`), idempotently; ends when every node can `run`."""
        ...

    async def running(self) -> frozenset[str]:
        """The names of the nodes that run right now."""
        ...

    async def destroy(self, emit: Emit) -> None:
        """Remove everything that this provider made for this platform, and nothing else. Idempotent."""
        ...

    def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """The local command line that opens `argv` (default: a login shell) on the node with a terminal."""
        ...
