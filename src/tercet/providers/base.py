"""The interface of a provider, which makes containers and runs programs in them. Only this part differs by provider.

A provider keeps no state file. It recognizes its platform by what exists: running containers and their tags.
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
    """The state of the containers at all sites.

    `away` maps each node whose server cannot be reached to the reason. Their state is unknown, so `changes` contains no
    changes for them. `running` has the running nodes. `changes` concern containers, networks and links, in the order in
    which they must be made.
    """

    changes: tuple[Change, ...] = ()
    running: frozenset[str] = frozenset()
    away: Mapping[str, str] = field(default_factory=dict)


class Provider(Fleet, Protocol):
    """One platform's containers."""

    def lock(self, who: str) -> AbstractAsyncContextManager[None]:
        """The lock for every change. If it is taken, the TercetError tells who holds it, since when and why."""
        ...

    async def survey(self) -> Survey:
        """Compare containers, networks and links with the inventory.

        The engine interprets three kinds of changes. CREATE of a container means that the node is empty. REMOVE of a
        container with a database requires that the operator has named it. `restarts` means that the node is serving
        now, so it is changed last. A server that does not respond delays the survey by at most its deadline.
        """
        ...

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """Carry out exactly these changes of `survey`. Idempotent. Returns when programs can run on every node."""
        ...

    async def destroy_plan(self) -> tuple[Change, ...]:
        """What `destroy` would remove, for the operator to confirm. Disks with a database are marked as such."""
        ...

    async def preflight(self) -> tuple[Check, ...]:
        """Check, for `tercet doctor`, everything on this provider's side that would make `up` fail. Changes nothing."""
        ...

    async def destroy(self, emit: Emit) -> None:
        """Remove everything that this provider made for this platform, and nothing else. Idempotent."""
        ...

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """The local command line that runs `argv` (default: a login shell) on the node in a terminal."""
        ...

    def neighbour(self, site: str) -> AbstractAsyncContextManager[Sequence[str]]:
        """A guest on the network of that site that is no node, until the block ends: the words that precede a command
        line of this machine to run it there. Only called if the provider declares `neighbours`.
        """
        ...

    async def close(self) -> None:
        """Close all connections to servers and nodes, and end the programs on them. Later calls connect again."""
        ...

    @property
    def faults(self) -> Faults:
        """The faults that drills can make from outside the nodes."""
        ...


def open_provider(platform: Platform, image: Image | None, known_hosts: Path) -> Provider:
    """The provider that the inventory names, made by the function `opened` in the module `provider` of its package.

    New containers are made from `image` (None: not built yet). SSH host keys are pinned in the file `known_hosts`.
    """
    module = import_module(f"{package(platform.settings.provider)}.provider")
    provider: Provider = module.opened(platform, image, known_hosts)
    return provider


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault in force. It ends by itself in `seconds`; 0 means that it does not.

    `target` is a node, a site for LOSS and LATENCY, or "SITE→SITE" for a cut.
    """

    kind: Capability  # KILL includes a node that runs without a network; CUT means one direction or both
    target: str
    seconds: float


class Faults:
    """Faults made from outside the nodes. A provider derives its own class, with the methods for the capabilities that
    it declares (inventory/providers.py). The other methods are never called.

    Invariant: every fault ends by itself after `seconds`, even if the tool has died. Sites are given by name; "world"
    is everything outside the sites.
    """

    @property
    def lacking(self) -> Mapping[Capability, str]:
        """Declared capabilities that this machine lacks, each with the reason."""
        return {}

    async def kill(self, nodes: Sequence[str], *, seconds: float) -> None:
        """Power cut: all nodes stop at once, without closing connections. They start again after `seconds`."""
        raise NotImplementedError

    async def start(self, nodes: Sequence[str]) -> None:
        """Start killed nodes now. Returns when programs can run on them. A node that runs already is left alone."""
        raise NotImplementedError

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        """Suspend every process of the nodes. Their kernel still answers on open connections."""
        raise NotImplementedError

    async def thaw(self, nodes: Sequence[str]) -> None:
        """Resume frozen nodes now. A node that is not frozen is left alone."""
        raise NotImplementedError

    async def cut(self, source: str, target: str | None, *, seconds: float, both: bool = True) -> None:
        """Drop all traffic from `source` to `target` (None: everything else), and in reverse if `both`."""
        raise NotImplementedError

    async def join(self, source: str, target: str | None, *, both: bool = True) -> None:
        """Undo the same `cut` now. A link that is not cut is left alone."""
        raise NotImplementedError

    async def lose(self, site: str, *, percent: int, seconds: float) -> None:
        """Drop `percent` of the packets between the site and everything else, in each direction."""
        raise NotImplementedError

    async def delay(self, site: str, *, by: float, seconds: float) -> None:
        """Delay packets between the site and everything else by at least `by` seconds, in each direction."""
        raise NotImplementedError

    async def steady(self, site: str) -> None:
        """Undo `lose` and `delay` of the site now. A site that has neither is left alone."""
        raise NotImplementedError

    async def slow_disk(self, node: str, *, iops: int, seconds: float) -> None:
        """Limit the disk of the node's database to `iops` reads and `iops` writes a second."""
        raise NotImplementedError

    async def free_disk(self, node: str) -> None:
        """Undo `slow_disk` of the node now. A disk that is not slowed is left alone."""
        raise NotImplementedError

    async def faults_active(self) -> tuple[ActiveFault, ...]:
        """The faults in force now, read from the platform itself."""
        return ()

    async def heal_all(self) -> None:
        """End every fault now. Returns when programs can run on every node that was killed."""
