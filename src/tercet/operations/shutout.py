"""Shuts lost sites out in two independent ways, before anything is changed on the remaining nodes.

1. The keys of their nodes expire in the tailnet. A node with an expired key has no peers. When it starts, it gets no
   address, so no service that binds to one starts. If it ran all the time, it logs itself out as soon as the control
   server answers it (after 15 s in the lab). So the lost sites do not even see each other: there is no quorum in their
   `dcs` or their Nomad, and no majority for Patroni's failsafe mode.
2. The remaining nodes allow only each other to use the platform's ports (nodeside/firewall.py).

Removing a node from the tailnet is not enough: a node that is cut off at that moment never learns of it, and continues
with the peers that it remembers. Two lost sites that see each other would remain a majority, even after their links to
the last site are joined again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from tercet.components import endpoints
from tercet.components.dcs import component as dcs
from tercet.components.tailscale import component as tailscale
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.gates import explain, wait_for
from tercet.converge.observe import ask
from tercet.converge.persistent import PersistentAgents
from tercet.converge.requests import Http, Request
from tercet.converge.target import Verb
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.nodeside.endpoint import Endpoint
from tercet.operations.change import execute, make_plan
from tercet.operations.entries import at_headscale, remove
from tercet.operations.recover_dcs import on_each
from tercet.session.session import Session
from tercet.tailnet.control_plane import ControlPlane

PHASE = "shut out"
GONE_S = 60.0  # seconds until every remaining node has learned of it; it takes one
BY_HAND_S = 900.0  # seconds for a person to find the devices on the pages of the control server
# After its start, tailscaled has no peers until the control server gives it some. A tailscaled that ran all the time
# and is logged in again continues without the peers that had expired (seen: it answers none of them).
FORGET_PEERS = f"! systemctl -q is-active {tailscale.UNIT} || systemctl restart {tailscale.UNIT}"
COMPONENTS = ("fingerprint", "membership", "headscale", "tailscale", "firewall")


async def shut_out(session: Session, emit: Emit) -> None:
    """Shut out the lost sites of the session's platform. Running it again does what is left. Raises TercetError."""
    await _expire(session, emit)
    emit(Event(PHASE, "progress", "the remaining nodes admit only each other"))
    part = session.only(COMPONENTS)
    todo = await make_plan(part)
    changes = tuple(change for change in todo.infrastructure if change.verb is not Verb.BUILD)
    async with PersistentAgents(session.provider) as fleet:
        await execute(part, replace(todo, infrastructure=changes), fleet, emit)
    await _forget(session)
    emit(Event(PHASE, "done", f"{_names(session)} cannot reach the remaining nodes"))


async def _expire(session: Session, emit: Emit) -> None:
    """Make the keys of the lost nodes expire, and wait until every remaining node knows it."""
    platform = session.platform
    asked: dict[str, Mapping[str, Request]] = {node.name: {"tailscale": tailscale.STATUS} for node in platform.nodes}
    found = peers(await ask(session.provider, asked, timeout=15), asked, [node.name for node in platform.lost_nodes])
    if not found:
        return
    emit(Event(PHASE, "started", f"the keys of {len(found)} nodes of {_names(session)} expire in the tailnet"))
    deadline = GONE_S
    if platform.world:
        await at_headscale(session, "expire", found)
    elif (tailnet := ControlPlane(platform.settings.tailnet)).can_remove:
        await asyncio.to_thread(tailnet.expire, found)
    else:
        deadline = BY_HAND_S
        listed = ", ".join(f"{name} ({', '.join(sorted(addresses))})" for name, addresses in found.items())
        text = (
            f"the inventory has no `tailnet.api_key`: let the keys of these devices expire, or log them out, at the "
            f"tailnet's control server now: {listed}. This continues when they are"
        )
        emit(Event(PHASE, "progress", text))

    def gone(readings: Readings) -> State:
        left = peers(readings, asked, found)
        silent = [name for name in asked if not readings.get(name, "tailscale").ok]
        if silent:
            return Waiting(f"{', '.join(silent)} does not answer")
        return Waiting(f"{', '.join(left)} can still be reached") if left else Passing()

    units = tuple((node.name, tailscale.UNIT) for node in platform.nodes)
    judged = await wait_for(
        [Condition("the lost nodes are out of the tailnet", gone, units)], asked, session.provider, deadline=deadline
    )
    if text := await explain(judged, session.provider):
        raise TercetError(f"after {deadline:g} s; run this again to continue\n{text}")


async def let_in(session: Session, sites: Collection[str], emit: Emit) -> None:
    """Remove the old entries in the tailnet of sites that come back, so that their nodes join as new ones.

    headscale 0.29 does not let a node with a tag log in again after its key has expired. What a returned node remembers
    of the tailnet is removed, too. Without an API key, the control server's own rules decide about the entries.
    """
    platform = session.platform
    mine = [node.name for node in platform.nodes if node.site in sites]
    others = [node.name for node in platform.nodes if node.site not in sites]
    readings = await ask(session.provider, {name: {"tailscale": tailscale.STATUS} for name in others}, timeout=15)
    found = peers(readings, others, mine, expired=True)
    if found:
        await remove(session, found)
    emit(Event(PHASE, "progress", f"{', '.join(sites)} can join the tailnet again"))
    await on_each(session, mine, FORGET_PEERS, timeout=60)


def peers(
    readings: Readings, nodes: Collection[str], lost: Collection[str], *, expired: bool = False
) -> dict[str, set[str]]:
    """The lost nodes that one of `nodes` has as a peer, with their addresses: those with a valid key, or those with an
    expired one.
    """
    found: dict[str, set[str]] = {}
    for node in nodes:
        for peer in ((readings.get(node, "tailscale").json() or {}).get("Peer") or {}).values():
            name = str(peer.get("HostName"))
            if name in lost and bool(peer.get("Expired")) is expired:
                found.setdefault(name, set()).update(str(address) for address in peer.get("TailscaleIPs") or ())
    return found


async def _forget(session: Session) -> None:
    """Make the remaining agents forget the lost ones, which they call failed. Nothing depends on this: an agent that
    does not do it continues to try them, and shows them as failed.
    """
    platform = session.platform
    asked: dict[str, dict[str, Request]] = {}
    for control in platform.of(Role.CONTROL):
        requests: dict[str, Request] = {}
        for node in platform.lost_nodes:
            requests[f"dcs {node.name}"] = _leave(endpoints.dcs(platform, session.context.secrets), node.name)
            if node.role is Role.CONTROL:
                datacenter = next(site.datacenter for site in platform.lost_sites if site.name == node.site)
                for name in (datacenter, dcs.NAME):
                    agent = endpoints.consul(platform, session.context.secrets)
                    requests[f"wan {node.name} {name}"] = _leave(agent, f"{node.name}.{name}", wan=True)
                leave = f"/v1/agent/force-leave?node={node.name}.global&prune=true"
                servers = endpoints.nomad(platform, session.context.secrets)
                requests[f"nomad {node.name}"] = Http(servers, leave, "PUT", timeout=10)
        asked[control.name] = requests
    await ask(session.provider, asked, timeout=60)


def _leave(agent: Endpoint, member: str, *, wan: bool = False) -> Http:
    return Http(agent, f"/v1/agent/force-leave/{member}?prune=true{'&wan=true' if wan else ''}", "PUT", timeout=10)


def _names(session: Session) -> str:
    return ", ".join(site.name for site in session.platform.lost_sites)
