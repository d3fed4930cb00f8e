"""Faults on Proxmox, for drills: power cuts, frozen nodes, cut links between sites.

Invariant: every fault ends by itself, even if the tool is dead. A killed or frozen container has a healer on its
server: a detached shell that waits and then starts or thaws the container. The healer starts before the fault is made,
and ends when the container is healed. A cut consists of elements in an nftables set on the nodes of the site that is
cut off. The kernels of these nodes expire the elements.

A killed container is disconnected before its processes are killed, so that it closes no connection. The processes of a
frozen container are suspended by the cgroup freezer. A cut drops all tailnet traffic between the nodes of two sites,
which is all that the platform sends. Traffic of tailscaled outside the tailnet continues, so the tailnet's control
plane stays reachable, unlike with a line that is really cut.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tercet.converge.events import silent
from tercet.converge.fleet import Unreachable
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.providers import Capability
from tercet.providers.base import ActiveFault, Faults
from tercet.providers.proxmox.making import Maker
from tercet.providers.proxmox.nodes import Nodes
from tercet.providers.proxmox.site import Listed
from tercet.remote.ssh import SshServer

T = TypeVar("T")

TIMEOUT = 30.0  # seconds for a script on a server or a node
TABLE = "inet tercet-cut"
LOSS_TABLE = "inet tercet-loss"

HARM = text_of(__package__, "faults-harm.sh")
HEALERS = text_of(__package__, "faults-healers.sh")
CUTTING = text_of(__package__, "faults-cut.sh", TABLE=TABLE)
LOSING = text_of(__package__, "faults-lose.sh", TABLE=LOSS_TABLE)


@dataclass(frozen=True, slots=True)
class Healer:
    """The shell on `server` that will end a node's fault in `left` seconds."""

    server: SshServer
    pid: str
    kind: str
    node: str
    left: float


def _separated(results: Iterable[T | BaseException]) -> tuple[list[T], list[TercetError]]:
    """The results, and the errors of this tool. Raises every other exception."""
    found: list[T] = []
    failures: list[TercetError] = []
    for result in results:
        if isinstance(result, TercetError):
            failures.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            found.append(result)
    return found, failures


class ProxmoxFaults(Faults):
    """The faults of one platform. See providers/base.py."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._platform = nodes.platform

    async def kill(self, nodes: Sequence[str], *, seconds: float) -> None:
        await self._harm(Capability.KILL, nodes, seconds)
        self._nodes.forget()

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        await self._harm(Capability.FREEZE, nodes, seconds)

    async def _harm(self, kind: str, nodes: Sequence[str], seconds: float) -> None:
        """Run one script per server, so that its nodes fail at the same moment."""
        older: defaultdict[str, list[str]] = defaultdict(list)
        healers, _ = await self._healers()
        for each in healers:
            if each.node in nodes:
                older[each.server.name].append(each.pid)
        by_server: dict[str, tuple[SshServer, list[str]]] = {}
        for node in nodes:
            try:
                item, server = await self._nodes.located(node)
            except Unreachable as error:
                raise TercetError(f"{kind} {node}: {error}") from error
            by_server.setdefault(server.name, (server, []))[1].append(str(item.vmid))
        await asyncio.gather(
            *(
                self._on(server, HARM, self._platform.name, kind, f"{seconds:.1f}", " ".join(older[name]), *ids)
                for name, (server, ids) in by_server.items()
            )
        )

    async def start(self, nodes: Sequence[str]) -> None:
        self._nodes.forget()

        async def one(node: str) -> None:
            site = self._nodes.sites[self._platform.node(node).site]
            item = (await site.located()).get(node)
            if item is None:
                raise TercetError(f"start {node}: there is no such container; `tercet up` makes it")
            maker = Maker(site, silent, 0.0)
            await (maker.ready if item.running else maker.start)(item.host, item.vmid, node)

        await self._each(nodes, one)

    async def thaw(self, nodes: Sequence[str]) -> None:
        async def one(node: str) -> None:
            item, server = await self._nodes.located(node)
            await self._on(server, 'lxc-unfreeze --name "$1"', str(item.vmid))

        await self._each(nodes, one)

    async def _each(self, nodes: Sequence[str], remedy: Callable[[str], Awaitable[None]]) -> None:
        """Heal every node, even if another one could not be healed. A healed node loses its healer; the others keep
        theirs.
        """
        healed: list[str] = []
        failures: list[str] = []

        async def one(node: str) -> None:
            try:
                await remedy(node)
            except TercetError as error:
                failures.append(f"{node}: {error}")
            else:
                healed.append(node)

        await asyncio.gather(*(one(node) for node in nodes))
        await self._dismiss(healed)
        if failures:
            raise TercetError("\n".join(failures))

    async def cut(self, source: str, target: str | None, *, seconds: float, both: bool = True) -> None:
        await self._cutting("cut", source, target, seconds, both=both)

    async def join(self, source: str, target: str | None, *, both: bool = True) -> None:
        await self._cutting("join", source, target, 0.0, both=both)

    async def _cutting(self, verb: str, source: str, target: str | None, seconds: float, *, both: bool) -> None:
        """Cut or join: the source site's nodes start or stop dropping traffic to and, if `both`, from the target's."""
        sites = {site.name for site in self._platform.sites}
        if source not in sites or (target is not None and target not in sites):
            raise TercetError(f"{verb} {source}→{target}: on Proxmox only ways between sites can be cut")
        cut_off = sites - {source} if target is None else {target} - {source}
        others = [node.name for node in self._platform.nodes if node.site in cut_off]
        argv = ("sh", "-c", CUTTING, "tercet-cut", verb, str(round(seconds)), "both" if both else "one", *others)
        await self._at(source, argv, verb)

    async def lose(self, site: str, *, percent: int, seconds: float) -> None:
        await self._losing(site, percent, seconds)

    async def steady(self, site: str) -> None:
        await self._losing(site, 0, 0.0)

    async def _losing(self, site: str, percent: int, seconds: float) -> None:
        others = [node.name for node in self._platform.nodes if node.site != site]
        argv = ("sh", "-c", LOSING, "tercet-loss", str(percent), str(round(seconds)), *others)
        await self._at(site, argv, f"lose {percent} % of")

    async def _at(self, site: str, argv: Sequence[str], doing: str) -> None:
        """Run the script on all nodes of the site. A node that is stopped or frozen needs none, because it sends no
        packets. Raises TercetError if the script fails on a node, or if a running node does not answer.
        """
        mine = [node.name for node in self._platform.nodes if node.site == site]
        results = await asyncio.gather(
            *(self._nodes.run(node, argv, timeout=TIMEOUT) for node in mine), return_exceptions=True
        )
        silent: dict[str, Unreachable] = {}
        for node, result in zip(mine, results, strict=True):
            if isinstance(result, Unreachable):
                silent[node] = result
            elif isinstance(result, BaseException):
                raise result
            elif result.status != 0:
                said = result.stderr.decode(errors="replace").strip()
                raise TercetError(f"{doing} {site} on {node}: {said or f'status {result.status}'}")
        if silent:
            located = await self._nodes.sites[site].located()
            healers, _ = await self._healers()
            frozen = {each.node for each in healers}
            for node, reason in silent.items():
                if node in located and located[node].running and node not in frozen:
                    raise TercetError(f"{doing} {site}: {reason}, but its container runs")

    async def faults_active(self) -> tuple[ActiveFault, ...]:
        healers, failures = await self._healers()
        for failure in failures:
            if not isinstance(failure, Unreachable):
                raise failure
        cuts, losses = await self._links(without={each.node for each in healers})
        return (
            *(ActiveFault(Capability(each.kind), each.node, each.left) for each in healers),
            *(ActiveFault(Capability.CUT, f"{source}→{target}", left) for (source, target), left in cuts.items()),
            *(ActiveFault(Capability.LOSS, site, left) for site, left in losses.items()),
        )

    async def heal_all(self) -> None:
        healers, unasked = await self._healers()
        cuts, losses = await self._links(without={each.node for each in healers})
        failures = [f"{failure}; its faults end by themselves" for failure in unasked]
        for remedy in (  # if one fails, the others are still tried
            partial(self.thaw, [each.node for each in healers if each.kind == Capability.FREEZE]),
            partial(self.start, [each.node for each in healers if each.kind == Capability.KILL]),
            *(partial(self.join, source, None) for source in dict.fromkeys(source for source, _ in cuts)),
            *(partial(self.steady, site) for site in losses),
        ):
            try:
                await remedy()
            except TercetError as error:
                failures.append(str(error))
        if failures:
            raise TercetError("\n".join(failures))

    # ------------------------------------------------------------------------------------------------- healers

    async def _dismiss(self, nodes: Sequence[str]) -> None:
        """End the healers of these nodes, which are healed. A healer whose time is up has ended by itself."""
        if not nodes:
            return
        by_server: dict[str, tuple[SshServer, list[str]]] = {}
        healers, _ = await self._healers()
        for each in healers:
            if each.node in nodes:
                by_server.setdefault(each.server.name, (each.server, []))[1].append(each.pid)
        for server, pids in by_server.values():
            await self._on(server, 'for pid; do kill -- "-$pid" 2>/dev/null; done; true', *pids)

    async def _healers(self) -> tuple[list[Healer], list[TercetError]]:
        """All healers of this platform's nodes, and why servers could not be asked.

        A node is identified by site, Proxmox node and VMID, because other sites' servers may have the same name and
        VMIDs.
        """
        everywhere, failures = await self._everywhere()
        nodes = {(self._platform.node(node).site, item.host, item.vmid): node for node, item in everywhere.items()}

        async def ask(site: str, host: str) -> list[Healer]:
            server = await self._nodes.sites[site].ssh(host)
            return [
                Healer(server, pid, kind, node, left)
                for pid, kind, vmid, left in await self._listed(server)
                if (node := nodes.get((site, host, vmid))) is not None
            ]

        servers = dict.fromkeys((site, host) for site, host, _ in nodes)
        found, silent_servers = _separated(
            await asyncio.gather(*(ask(site, host) for site, host in servers), return_exceptions=True)
        )
        return [healer for each in found for healer in each], [*failures, *silent_servers]

    async def _listed(self, server: SshServer) -> list[tuple[str, str, int, float]]:
        """The process ID, the kind of fault, the VMID and the seconds left of each of this platform's healers on a
        server.
        """
        lines = (await self._on(server, HEALERS, self._platform.name)).splitlines()
        now = float(lines[0]) if lines else 0.0
        found = []
        for line in lines[1:]:
            if match := re.fullmatch(r"(\d+) (kill|freeze) (\d+) ([\d.]+)", line):
                found.append((match[1], match[2], int(match[3]), max(0.0, float(match[4]) - now)))
        return found

    async def _everywhere(self) -> tuple[dict[str, Listed], list[TercetError]]:
        """All containers by node name, and why sites could not be asked."""
        found, failures = _separated(
            await asyncio.gather(*(site.located() for site in self._nodes.sites.values()), return_exceptions=True)
        )
        return {node: item for each in found for node, item in each.items()}, failures

    async def _on(self, server: SshServer, script: str, *arguments: str) -> str:
        done = await server.run(server.command(("bash", "-c", script, "tercet-fault", *arguments)), timeout=TIMEOUT)
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise TercetError(f"{server.name}: {said or f'a script left with {done.status}'}")
        return done.stdout.decode(errors="replace")

    # ------------------------------------------------------------------------------------------- cuts and losses

    async def _links(self, without: set[str]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
        """The seconds left of cuts, by source and target site, and of losses, by site. Read from the sets on all nodes
        that answer.
        """
        tables = "".join(f"echo; nft -j list table {table} 2>/dev/null || echo; " for table in (TABLE, LOSS_TABLE))
        argv = ("sh", "-c", f"cat /etc/hosts; {tables}")
        everywhere, _ = await self._everywhere()
        nodes = [node for node, item in everywhere.items() if item.running and node not in without]
        answers = await asyncio.gather(
            *(self._nodes.run(node, argv, timeout=TIMEOUT) for node in nodes), return_exceptions=True
        )
        cuts: defaultdict[tuple[str, str], float] = defaultdict(float)
        losses: defaultdict[str, float] = defaultdict(float)
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, BaseException):
                continue
            hosts, cut, lossy, *_ = (*answer.stdout.decode(errors="replace").split("\n\n"), "", "")
            here = self._platform.node(node).site
            for site, seconds in self._sites_in(hosts, cut):
                cuts[here, site] = max(cuts[here, site], seconds)
            for _, seconds in self._sites_in(hosts, lossy):
                losses[here] = max(losses[here], seconds)
        return cuts, losses

    def _sites_in(self, hosts: str, table: str) -> Iterable[tuple[str, float]]:
        """The sites in a table's set, with the seconds left."""
        known = {node.name: node.site for node in self._platform.nodes}
        pairs = [words for line in hosts.splitlines() if len(words := line.split()) == 2 and words[1] in known]
        sites = {address: known[name] for address, name in pairs}
        try:
            items: list[Mapping[str, Any]] = json.loads(table)["nftables"] if table.strip() else []
        except (ValueError, KeyError):
            return
        for item in items:
            if (found := item.get("set")) and found.get("name") == "to":
                for each in found.get("elem", ()):
                    element = each.get("elem", {}) if isinstance(each, dict) else {}
                    if (site := sites.get(str(element.get("val")))) is not None:
                        yield site, float(element.get("expires", 0))
