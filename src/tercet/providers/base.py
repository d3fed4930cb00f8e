"""What a provider is: where containers come from and how they are reached. Providers differ only here.

A provider finds its platform again from what exists (running containers, tags); it keeps no state file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.plan import Change
from tercet.image.build import Image
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability, package
from tercet.providers.preflight import Check


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at the containers of all sites.

    `away` maps each node whose server cannot be reached to the reason. Nothing is known of these nodes, so no change
    is for them. `running` are the nodes that run, `changes` what the containers, networks and links need, in order.
    """

    changes: tuple[Change, ...] = ()
    running: frozenset[str] = frozenset()
    away: Mapping[str, str] = field(default_factory=dict)


class Provider(Fleet, Protocol):
    """One platform's containers."""

    def lock(self, who: str) -> AbstractAsyncContextManager[None]:
        """Held while anything is changed. Raises TercetError naming the holder, since when and what it does."""
        ...

    async def survey(self) -> Survey:
        """Compare containers, networks and links with the inventory.

        The engine reads three things from the changes. CREATE of a container: the node is empty. REMOVE of one: if it
        is a database's, the operator must have named it. `restarts`: the node runs and serves, so its turn comes last.
        A silent server costs no more than its deadline.
        """
        ...

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """Carry out exactly these changes (from `survey`), idempotently; ends when every node can `run`."""
        ...

    async def destroy_plan(self) -> tuple[Change, ...]:
        """What `destroy` would destroy, database disks named as such, for the one who must confirm it."""
        ...

    async def preflight(self) -> tuple[Check, ...]:
        """Everything of its own that would make `up` fail later, for `tercet doctor`. Changes nothing."""
        ...

    async def destroy(self, emit: Emit) -> None:
        """Remove everything that this provider made for this platform, and nothing else. Idempotent."""
        ...

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """The local command line that opens `argv` (default: a login shell) on the node with a terminal."""
        ...

    async def close(self) -> None:
        """End every connection to servers and nodes, and what still runs over them. Using it again connects anew."""
        ...

    @property
    def faults(self) -> Faults:
        """The faults that drills may provoke from outside the nodes."""
        ...


def open_provider(platform: Platform, image: Image | None, known_hosts: Path) -> Provider:
    """The provider that the inventory names. The module `provider` of its package has a function `opened` for it.

    `image` is what new containers are made from (None: not built yet); `known_hosts` is where SSH keys are pinned.
    """
    module = import_module(f"{package(platform.settings.provider)}.provider")
    provider: Provider = module.opened(platform, image, known_hosts)
    return provider


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault in force; `seconds` until it ends by itself, 0 if never.

    `target` is a node, a site for LOSS and LATENCY, or "SITE→SITE" for a cut.
    """

    kind: Capability  # KILL also for a node that lives unplugged; CUT for one way and for both
    target: str
    seconds: float


class Faults:
    """Faults made from outside the nodes. A provider's own class derives from this one, and has the methods of all
    capabilities that the provider declares (inventory/providers.py). The others are never called.

    Invariant: every fault ends by itself after `seconds`, whatever becomes of the tool in the meantime. A
    site is its name; the outside world is "world".
    """

    @property
    def lacking(self) -> Mapping[Capability, str]:
        """What is declared and cannot be made here all the same, with the reason: this machine lacks something."""
        return {}

    async def kill(self, nodes: Sequence[str], *, seconds: float) -> None:
        """Power cut: the nodes vanish together, at once and without a farewell; started again after `seconds`."""
        raise NotImplementedError

    async def start(self, nodes: Sequence[str]) -> None:
        """Start killed nodes now; ends when they can `run`. One that runs already is left alone."""
        raise NotImplementedError

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        """Stop every process of the nodes where it stands; their kernel still answers for open connections."""
        raise NotImplementedError

    async def thaw(self, nodes: Sequence[str]) -> None:
        """Let frozen nodes go on now. One that is not frozen is left alone."""
        raise NotImplementedError

    async def cut(self, source: str, target: str | None, *, seconds: float, both: bool = True) -> None:
        """Drop all traffic from `source` to `target` (None: to everything else), and back unless `both` is false."""
        raise NotImplementedError

    async def join(self, source: str, target: str | None, *, both: bool = True) -> None:
        """Undo the same `cut` now. What is not cut is left alone."""
        raise NotImplementedError

    async def lose(self, site: str, *, percent: int, seconds: float) -> None:
        """Lose this share of the packets between the site and everything else, each way."""
        raise NotImplementedError

    async def delay(self, site: str, *, by: float, seconds: float) -> None:
        """Hold every packet between the site and everything else for at least `by` seconds, each way."""
        raise NotImplementedError

    async def steady(self, site: str) -> None:
        """Undo `lose` and `delay` of the site now. A site with neither is left alone."""
        raise NotImplementedError

    async def slow_disk(self, node: str, *, iops: int, seconds: float) -> None:
        """Allow the node no more than `iops` reads and as many writes a second on its database's disk."""
        raise NotImplementedError

    async def free_disk(self, node: str) -> None:
        """Undo `slow_disk` of the node now. One whose disk is not slowed is left alone."""
        raise NotImplementedError

    async def faults_active(self) -> tuple[ActiveFault, ...]:
        """What is in force right now, read from the platform itself."""
        return ()

    async def heal_all(self) -> None:
        """End every fault now; ends when every node that was killed can `run`."""
