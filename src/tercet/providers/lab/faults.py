"""Faults from outside the nodes: power cuts, frozen nodes, cut and weak links.

Invariant: every fault ends by itself. A cut or a weak link is an element of an nftables set, which the kernel expires.
A node that is killed, frozen or has a slow disk has a healer: a detached shell in the lab's control groups that waits
and then undoes the fault. The healer starts before the fault is made, and ends when the node is healed. The faults in
force are read from these sets, from the healers and from the nodes, so no state is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.inventory.providers import Capability
from tercet.providers.base import ActiveFault, Faults
from tercet.providers.lab import cuts, weak
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, pids, read, remove
from tercet.providers.lab.containers import Containers
from tercet.providers.lab.layout import Container, Layout
from tercet.providers.lab.network import LabNetwork
from tercet.providers.lab.observe import NetworkState, observe_network
from tercet.providers.lab.throttle import Throttle
from tercet.providers.lab.wan import Pair

HEALER = text_of(__package__, "faults-healer.sh")
HEALER_NAME = "tercet-healer"
UNTHROTTLED = (
    "this machine's kernel has neither blkio.throttle (control groups version 1) nor io.max for the lab's groups "
    "(version 2)"
)


class LabFaults(Faults):
    """The faults of one lab. See providers/base.py."""

    def __init__(self, layout: Layout, cgroups: Cgroups, network: LabNetwork, containers: Containers) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._network = network
        self._containers = containers
        self._throttle = Throttle(cgroups, layout.platform)

    @property
    def lacking(self) -> Mapping[Capability, str]:
        return {} if self._throttle.possible else {Capability.SLOW_DISK: UNTHROTTLED}

    async def kill(self, nodes: Sequence[str], *, seconds: float) -> None:
        containers = [self._layout.container(node) for node in nodes]
        for container in containers:
            await self._heal_later(Capability.KILL, container.name, seconds, self._containers.start_command(container))
        await self._network.unplug([c.port for c in containers if self._cgroups.init(c.name) is not None])
        for container in containers:
            kill(self._cgroups.node(container.name))
        for container in containers:
            if not await emptied(self._cgroups.node(container.name), 10.0):
                raise TercetError(f"kill {container.name}: processes are still alive 10 s after SIGKILL; see `dmesg`")

    async def start(self, nodes: Sequence[str]) -> None:
        containers = [self._layout.container(node) for node in nodes]
        await _each([self._start(container) for container in containers])

    async def _start(self, container: Container) -> None:
        await self._containers.start(container)
        # It may have been unplugged without being killed.
        await self._network.plug(container.port, container.network)
        await self._dismiss(container.name)

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        for node in nodes:
            self._layout.container(node)
            if self._cgroups.init(node) is None:
                raise TercetError(f"freeze {node}: it does not run; start it first")
            thaw = ["sh", "-c", 'echo 0 > "$0"', str(self._cgroups.node(node) / "cgroup.freeze")]
            await self._heal_later(Capability.FREEZE, node, seconds, thaw)
        for node in nodes:
            self._cgroups.freeze(node, True)

    async def thaw(self, nodes: Sequence[str]) -> None:
        await _each([self._thaw(node) for node in nodes])

    async def _thaw(self, node: str) -> None:
        self._cgroups.freeze(node, False)
        if self._healer(node)[0] == Capability.FREEZE:
            await self._dismiss(node)

    async def cut(self, source: str, target: str | None, *, seconds: float, both: bool = True) -> None:
        await self._network.nft(cuts.cut(self._pairs(source, target, both), seconds), f"cut {source} off")

    async def join(self, source: str, target: str | None, *, both: bool = True) -> None:
        await self._network.nft(cuts.join(self._pairs(source, target, both)), f"join {source} again")

    async def lose(self, site: str, *, percent: int, seconds: float) -> None:
        pairs = self._pairs(site, None, both=True)
        await self._network.nft(weak.lose(self._number(site), pairs, percent, seconds), f"lose packets of {site}")

    async def delay(self, site: str, *, by: float, seconds: float) -> None:
        number, doing = self._number(site), f"delay packets of {site}"
        await self._network.nft(weak.delay(number, self._pairs(site, None, both=True), seconds), doing)
        queue = f"{weak.queue_of(number)}={round(by * 1e6)}"
        await self._network.emulate(self._emulator(site), [cuts.TABLE, f"{seconds:g}", queue], doing)

    async def steady(self, site: str) -> None:
        await self._network.nft(weak.steady(self._number(site)), f"make the links of {site} steady again")
        await self._network.end_emulator(self._emulator(site))

    async def slow_disk(self, node: str, *, iops: int, seconds: float) -> None:
        self._layout.container(node)
        if not self._throttle.possible:
            raise TercetError(f"slow the disk of {node}: {UNTHROTTLED}")
        await self._heal_later(Capability.SLOW_DISK, node, seconds, self._throttle.free_command(node), _disk(node))
        self._throttle.slow(node, iops)

    async def free_disk(self, node: str) -> None:
        self._throttle.free(node)
        await self._dismiss(_disk(node))

    def _number(self, site: str) -> int:
        """The index of the site's network, which is part of the names of its nftables sets and its queue."""
        return self._layout.networks.index(self._layout.network(site))

    def _emulator(self, site: str) -> Path:
        """The control group of the emulator that delays the site's packets. No node has this name."""
        return self._cgroups.healer(f"latency-{site}")

    def _pairs(self, source: str, target: str | None, both: bool) -> list[Pair]:
        here = self._layout.network(source)
        others = [self._layout.network(target)] if target else [n for n in self._layout.networks if n != here]
        there = [(here.subnet, other.subnet) for other in others]
        return there + [(b, a) for a, b in there] if both else there

    async def faults_active(self) -> tuple[ActiveFault, ...]:
        state = await observe_network(self._layout, self._cgroups)
        names = {network.subnet: network.name for network in self._layout.networks}
        links = [
            ActiveFault(Capability.CUT, f"{names.get(source, source)}→{names.get(target, target)}", left)
            for (source, target), left in (state.cut if state else {}).items()
        ]
        links += [
            ActiveFault(kind, self._layout.networks[number].name, left)
            for (kind, number), left in (state.weak if state else {}).items()
        ]
        nodes = [fault for container in self._layout.containers for fault in self._of_node(container, state)]
        return (*nodes, *links)

    def _of_node(self, container: Container, state: NetworkState | None) -> Iterator[ActiveFault]:
        name = container.name
        if self._throttle.slowed(name):
            yield ActiveFault(Capability.SLOW_DISK, name, self._healer(_disk(name))[1])
        kind, left = self._healer(name)
        if self._cgroups.frozen(name):
            yield ActiveFault(Capability.FREEZE, name, left if kind == Capability.FREEZE else 0.0)
        cable = state.devices.get(container.port) if state else None
        if self._cgroups.init(name) is None:
            if kind == Capability.KILL:
                yield ActiveFault(Capability.KILL, name, left)
        elif cable is not None and not cable.up:
            # The tool was killed between unplugging the node and killing it. `start` plugs it in again.
            yield ActiveFault(Capability.KILL, name, left if kind == Capability.KILL else 0.0)

    def struck(self) -> dict[str, str]:
        """The nodes that are down because of a fault in force, with the reason. They count as nodes of dead servers
        until the fault ends. A stopped or frozen node without a healer does not count; it is repaired.
        """
        found: dict[str, str] = {}
        for container in self._layout.containers:
            kind, left = self._healer(container.name)
            if kind == Capability.KILL and self._cgroups.init(container.name) is None:
                found[container.name] = f"its server lost power (a fault that ends by itself in {left:.0f} s)"
            elif kind == Capability.FREEZE and self._cgroups.frozen(container.name):
                found[container.name] = f"its server hangs (a fault that ends by itself in {left:.0f} s)"
        return found

    async def heal_all(self) -> None:
        active = await self.faults_active()
        if any(fault.kind == Capability.CUT for fault in active):
            await self._network.nft(cuts.join_all(), "join all sites again")
        for site in {fault.target for fault in active if fault.kind in (Capability.LOSS, Capability.LATENCY)}:
            await self.steady(site)
        for node in [fault.target for fault in active if fault.kind == Capability.SLOW_DISK]:
            await self.free_disk(node)
        await self.thaw([fault.target for fault in active if fault.kind == Capability.FREEZE])
        await self.start([fault.target for fault in active if fault.kind == Capability.KILL])

    async def _heal_later(self, kind: str, node: str, seconds: float, remedy: Sequence[str], name: str = "") -> None:
        """Start a detached process that applies `remedy` after `seconds` unless it is dismissed. It is named after the
        node unless `name` is given.
        """
        await self._dismiss(name or node)
        group = self._cgroups.healer(name or node)
        group.mkdir(parents=True, exist_ok=True)
        end = f"{monotonic() + seconds:.3f}"
        await command(
            ["sh", "-c", HEALER, HEALER_NAME, str(group), kind, end, f"{seconds:.3f}", *remedy],
            doing=f"{kind} {node}: prepare its healing",
        )

    async def _dismiss(self, node: str) -> None:
        group = self._cgroups.healer(node)
        kill(group)
        await emptied(group, 5.0)
        remove(group)

    def _healer(self, node: str) -> tuple[str, float]:
        """The fault that a running healer will end, and the seconds until then; ("", 0) if no healer runs."""
        for pid in pids(self._cgroups.healer(node)):
            words = read(Path(f"/proc/{pid}/cmdline")).split("\0")
            if HEALER_NAME in words:
                at = words.index(HEALER_NAME)
                return words[at + 2], max(0.0, float(words[at + 3]) - monotonic())
        return "", 0.0


def _disk(node: str) -> str:
    """The name of the healer of a node's disk, which is separate from the healer of the node."""
    return f"disk-{node}"


async def _each(remedies: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to the end, even if some fail. Then raise a TercetError with all reasons if any failed."""
    failures = [end for end in await asyncio.gather(*remedies, return_exceptions=True) if end is not None]
    for failure in failures:
        if not isinstance(failure, Exception):
            raise failure
    if failures:
        raise TercetError("; ".join(str(failure) for failure in failures))
