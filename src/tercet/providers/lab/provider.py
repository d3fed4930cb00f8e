"""The lab as a provider: LXC containers, site networks and a WAN on one machine. See docs/lab.md.

Invariant: the provider keeps no state. It reads what exists from the kernel and from the containers' folders each time,
so it finds a lab again after a crash of the tool or a reboot of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from time import monotonic

from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.host.lock import held
from tercet.image.build import Image
from tercet.inventory.platform import Platform, holds_database
from tercet.providers.base import Survey
from tercet.providers.lab import cuts
from tercet.providers.lab.attach import Attachment
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, remove
from tercet.providers.lab.containers import LOCKS, Containers
from tercet.providers.lab.drift import WATCHERS_WANTED, CutChange, LabKind, drift
from tercet.providers.lab.faults import LabFaults
from tercet.providers.lab.layout import LABS, layout_of
from tercet.providers.lab.namespace import inside_with_sysfs
from tercet.providers.lab.neighbour import neighbour
from tercet.providers.lab.network import LabNetwork, require_root
from tercet.providers.lab.observe import WATCHERS, observe
from tercet.providers.lab.preflight import preflight
from tercet.providers.lab.throttle import Throttle
from tercet.providers.preflight import Check

PHASE = "containers"
DESTROY_LIMIT = 10.0  # seconds until every process of the lab has ended after SIGKILL; it takes 0.3


class LabProvider:
    """One platform's containers on this machine. `rootfs` is the image's tree; None if it is not built yet."""

    def __init__(self, platform: Platform, rootfs: Path | None) -> None:
        require_root()
        self._platform = platform
        self._cache = platform.settings.cache
        self._layout = layout_of(platform)
        self._cgroups = Cgroups(platform.name)
        self._network = LabNetwork(self._layout, self._cgroups)
        self._containers = Containers(self._layout, self._cgroups, rootfs)
        self._attachment = Attachment(self._layout, self._cgroups)

    @cached_property
    def faults(self) -> LabFaults:
        return LabFaults(self._layout, self._cgroups, self._network, self._containers)

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        """See providers/base.py. If this process dies, the kernel releases the lock, but only after the programs that
        it started on nodes have ended, because their supervisor shares the lock's open file.
        """
        async with held(self._layout.namespace, who) as file:
            with self._attachment.under(file):
                yield

    async def survey(self) -> Survey:
        """See providers/base.py. A node counts as unreachable while a fault keeps it down."""
        away = {node: why for node, why in self.faults.struck().items() if node not in self._layout.lost}
        observed = await observe(self._layout, self._cgroups)
        running = frozenset(name for name, found in observed.containers.items() if found.init is not None)
        return Survey(drift(self._layout, observed, away), running - away.keys(), away)

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """See providers/base.py. Network changes come first, in order; then all containers at once. A container that
        fails does not stop the others. All failures are raised together at the end.
        """
        began, failures = monotonic(), list[TercetError]()
        last_link = next((change for change in reversed(changes) if change.target.kind is LabKind.LINK), None)

        async def execute(change: Change) -> None:
            text, node = str(change), change.target.name if change.target.kind is Kind.CONTAINER else ""
            emit(Event(PHASE, "started", text, node, monotonic() - began))
            try:
                if change.target.kind is not LabKind.LINK or change is last_link:  # one call sets all delays
                    await self._action(change)
            except (TercetError, OSError) as error:  # OSError: a full disk, a read-only file system
                emit(Event(PHASE, "failed", f"{text}: {error}", node, monotonic() - began))
                failures.append(error if isinstance(error, TercetError) else TercetError(f"{text}: {error}"))
            else:
                emit(Event(PHASE, "done", text, node, monotonic() - began))

        for change in changes:
            if change.target.kind is not Kind.CONTAINER and not failures:
                await execute(change)
        if not failures:
            async with asyncio.TaskGroup() as tasks:
                for change in changes:
                    if change.target.kind is Kind.CONTAINER:
                        tasks.create_task(execute(change))
        if failures:
            raise TercetError("\n".join(str(failure) for failure in failures))

    async def _action(self, change: Change) -> None:
        """Carry out one change of the plan that drift.py made."""
        name = change.target.name
        match change.target.kind:
            case LabKind.LIMIT:
                raise_watchers()
            case LabKind.NAMESPACE:
                await self._network.raise_namespace()
            case LabKind.NETWORK:
                await self._network.raise_bridge(self._layout.network(name))
            case LabKind.BRIDGE:
                await self._network.remove_bridge(name)
            case LabKind.LINK:
                await self._network.set_delays(self._layout.links)
            case LabKind.CUT if isinstance(change, CutChange):
                await self._network.nft(cuts.join([change.pair]), f"join {name} again")
            case LabKind.LOSS | LabKind.LATENCY:
                await self.faults.steady(name)
            case LabKind.SLOW_DISK:
                await self.faults.free_disk(name)
            case LabKind.CABLE:
                container = self._layout.container(name)
                await self._network.plug(container.port, container.network)
            case LabKind.ADDRESS:
                await self._containers.readdress(self._layout.container(name))
            case Kind.CONTAINER:
                await self._container_action(change.verb, name)
            case _:
                raise TercetError(f"the plan says `{change}`, which is not a change of a lab; plan again")

    async def _container_action(self, verb: Verb, name: str) -> None:
        if verb is Verb.REMOVE:
            await self._containers.remove(name)
            return
        container = self._layout.container(name)
        if verb is Verb.THAW:
            await self.faults.thaw([name])
        if verb in {Verb.UPDATE, Verb.RESTART}:
            await self._containers.stop(name)
        if verb in {Verb.CREATE, Verb.UPDATE}:
            await self._containers.define(container)
        await self._containers.start(container)

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        return await self._attachment.run(node, argv, stdin=stdin, timeout=timeout)

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        return await self._attachment.spawn(node, argv)

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """Uses lxc-attach, because it gives the program a terminal inside the container.

        Raises Unreachable if lxc-attach would fail (the container is stopped) or wait forever (it is frozen).
        """
        self._attachment.init(node)
        if self._cgroups.frozen(node):
            raise Unreachable(f"{node}: the container is frozen, so nothing can run there; `tercet up` thaws it")
        environment = ["HOME=/root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'linux')}"]
        return inside_with_sysfs(
            self._layout.namespace,
            'exec lxc-attach "$@"',
            *("--lxcpath", str(self._layout.directory), "--name", node, "--clear-env"),
            *(word for variable in environment for word in ("--set-var", variable)),
            "--",
            *(argv or ["/bin/bash", "-l"]),
        )

    async def close(self) -> None:
        """See providers/base.py."""
        self._attachment.close()

    async def destroy_plan(self) -> tuple[Change, ...]:
        """See providers/base.py."""
        folders = {path.name for path in self._layout.directory.glob("*/")}
        known = [each.name for each in self._layout.containers if each.name in folders]
        names = (*known, *sorted(folders - set(known)))
        return tuple(
            Change(
                Verb.DESTROY,
                Target(Kind.CONTAINER, name),
                f"with its {'DATABASE' if holds_database(name) else 'files'}",
            )
            for name in names
        )

    def neighbour(self, site: str) -> AbstractAsyncContextManager[Sequence[str]]:
        return neighbour(self._layout, site)

    async def preflight(self) -> tuple[Check, ...]:
        """See providers/base.py."""
        return tuple(preflight(self._cache))

    async def destroy(self, emit: Emit) -> None:
        """See providers/base.py. Services are not shut down in order, because everything is removed anyway."""
        began = monotonic()
        emit(Event(PHASE, "started", f"destroy lab {self._layout.platform}"))
        kill(self._cgroups.lab)
        if not await emptied(self._cgroups.lab, DESTROY_LIMIT):
            raise TercetError(
                f"destroy lab {self._layout.platform}: processes are still alive {DESTROY_LIMIT:g} s after SIGKILL; "
                "see `dmesg`, then run this again"
            )
        await self._network.remove_namespace()
        try:
            remove(self._cgroups.lab)
            Throttle(self._cgroups, self._layout.platform).forget()
        except OSError as error:
            raise TercetError(
                f"destroy lab {self._layout.platform}: something was started in it meanwhile: {error}; run this again"
            ) from None
        await self._forget(LOCKS.joinpath(*self._layout.directory.parts[1:]), LOCKS)
        await self._forget(self._layout.directory, LABS.parent.parent)
        with contextlib.suppress(OSError):  # another lab exists
            self._cgroups.base.rmdir()
        emit(Event(PHASE, "done", f"destroyed lab {self._layout.platform}", seconds=monotonic() - began))

    async def _forget(self, folder: Path, root: Path) -> None:
        """Remove the folder, and each folder above it that is empty now, up to but not including `root`."""
        await command(["rm", "-rf", "--one-file-system", str(folder)], doing=f"remove {folder}", timeout=120)
        for above in folder.parents:
            if above == root or above.is_mount():
                return
            try:
                above.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # not empty: others use it, too
                return


def raise_watchers() -> None:
    """Raise the host's limit of inotify instances, until its next reboot."""
    WATCHERS.write_text(str(WATCHERS_WANTED))


def opened(platform: Platform, image: Image | None, known_hosts: Path) -> LabProvider:
    """See providers/base.py. The lab does not use SSH."""
    return LabProvider(platform, image.rootfs if image else None)
