"""A machine that is no node tries every port: a guest on the bridge of a site, and a device of the tailnet with another
tag. Only where the provider can make such a guest, and the tailnet is the platform's own.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from tercet.components.firewall.component import platform_ports
from tercet.components.firewall.proof import KNOCK_S
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Exec
from tercet.drills.intruder.attempt import ASK_S, Attempt
from tercet.drills.intruder.stranger import joined, seen
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.inventory.platform import Platform, Role
from tercet.inventory.providers import declaration
from tercet.nodeside import knock
from tercet.session.session import Session

SSH = 22
CLOSED = 9  # where no router listens: it refuses, and that is an answer
NOBODY = "nobody"
# The node's addresses, and in the following lines where its programs listen.
LISTENING = "hostname -I && ss -Hlnt | awk '{print $4}'"


@dataclass(frozen=True, slots=True)
class Target:
    """A node: its addresses on the bridge and in the tailnet, and the ports to try."""

    bridge: str
    tailnet: str
    ports: tuple[int, ...]


async def attempts(session: Session) -> list[Attempt]:
    """Raises TercetError if a node does not tell its addresses, or if the guest reaches nothing at all: then silence
    would prove nothing.
    """
    if not declaration(session.platform.settings.provider).neighbours:
        return []
    site = session.platform.sites[0].name
    nodes = await targets(session)
    async with session.provider.neighbour(site) as here:
        await _reaches_its_router(here)
        at = [node.name for node in session.platform.containers if node.site == site]
        found = [await _guest(here, site, name, nodes[name]) for name in at]
        if session.platform.of(Role.WORLD):
            async with joined(session, here) as tailscale:
                found += await _device(here, tailscale, nodes)
    return found


async def targets(session: Session) -> dict[str, Target]:
    """Every node, as it describes itself. Raises TercetError if one does not."""
    names = [node.name for node in session.platform.nodes]
    request = Exec(("sh", "-c", LISTENING))
    readings = await ask(session.provider, {name: {"it": request} for name in names}, timeout=ASK_S)
    return {name: _target(session.platform, name, readings.get(name, "it")) for name in names}


def _target(platform: Platform, name: str, answer: Answer) -> Target:
    own, *listening = answer.text.splitlines() or [""]
    addresses = [each for each in own.split() if ip_address(each).version == 4]
    tailnet = [each for each in addresses if ip_address(each) in platform.settings.tailnet.cidr]
    bridge = [each for each in addresses if each not in tailnet]
    if not tailnet or not bridge:
        raise TercetError(f"expected addresses of {name} on the bridge and in the tailnet, found: {answer.why()}")
    ports = {SSH, *platform_ports(platform), *(int(each.rpartition(":")[2]) for each in listening)}
    return Target(bridge[0], tailnet[0], tuple(sorted(ports - {*platform.settings.firewall.open})))


async def _guest(here: Sequence[str], site: str, name: str, node: Target) -> Attempt:
    """It also tries the address in the tailnet: Linux answers for its addresses on each interface."""
    await command([*here, "ip", "route", "replace", node.tailnet, "via", node.bridge], doing="route to a node")
    found = await answered(here, [(address, port) for address in (node.bridge, node.tailnet) for port in node.ports])
    await command([*here, "ip", "route", "delete", node.tailnet], doing="remove the route to a node")
    what = f"{len(node.ports)} ports of {name}, at its addresses on the bridge and in the tailnet"
    return Attempt(f"a guest on the bridge of {site}", what, ", ".join(found))


async def _device(here: Sequence[str], tailscale: Sequence[str], nodes: Mapping[str, Target]) -> list[Attempt]:
    position = "a device of the tailnet with another tag"
    known = {node.tailnet for node in nodes.values()} & await seen(tailscale)
    doors = [(node.tailnet, port) for node in nodes.values() for port in node.ports]
    found = await answered(here, doors)
    return [
        Attempt(position, "sees the nodes of the platform", f"it sees {', '.join(sorted(known))}" if known else ""),
        Attempt(position, f"{len(doors)} ports of {len(nodes)} nodes", ", ".join(found)),
    ]


async def _reaches_its_router(here: Sequence[str]) -> None:
    router = (await command([*here, "ip", "route", "show", "default"], doing="ask for the router")).split()[2]
    if not await answered(here, [(router, CLOSED)]):
        raise TercetError(f"expected the guest on the bridge to reach its router at {router}, found no answer")


async def answered(here: Sequence[str], doors: Collection[tuple[str, int]]) -> list[str]:
    """The doors that answer, even if they refuse: "open ADDRESS:PORT" or "refused ADDRESS:PORT"."""
    tried = [f"{address}:{port}" for address, port in doors]
    argv = [*here, sys.executable, "-I", knock.__file__, NOBODY, str(KNOCK_S), *tried]
    return (await command(argv, doing="try the ports of nodes", timeout=KNOCK_S + 20)).splitlines()
