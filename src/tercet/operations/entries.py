"""The entries of nodes at the tailnet's control server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from tercet.components.headscale import component as headscale
from tercet.components.tailscale.component import HOSTS, STATUS, address_of
from tercet.converge.component import Readings
from tercet.converge.events import Emit, Event
from tercet.converge.observe import ask
from tercet.converge.plan import Plan
from tercet.converge.requests import NO_ANSWER, Exec, Request
from tercet.converge.target import Kind, Verb
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.session.session import Session
from tercet.tailnet.control_plane import ControlPlane

PHASE = "tailnet"
ASK_S = 10.0
CHANGE_S = 40.0
READ_HOSTS = Exec(("cat", HOSTS))

Entries = Mapping[str, set[str]]
"""Addresses by the name of their node. Both must match: a name may have an old entry, and another platform in the same
tailnet may have nodes of the same name.
"""


async def take_out_replaced(session: Session, todo: Plan, emit: Emit) -> None:
    """Remove the entries of nodes that are made anew or join anew. With such an entry, whoever has the old disk is
    still a device with the platform's tag.

    What the others have in /etc/hosts was the node's address until then. The phase `tailscale` changes it, so this
    comes before, and finds the same if it was broken off. Raises TercetError.
    """
    platform = session.platform
    made = (each.target for each in todo.infrastructure if each.verb is Verb.CREATE)
    created = {target.name for target in made if target.kind is Kind.CONTAINER}
    if not created and all(step.component != "tailscale" for step in todo.steps):
        return
    names = [node.name for node in platform.nodes if node.name not in {*created, *todo.away}]
    if not names or (platform.world and platform.world.name in created):
        return
    asked: dict[str, dict[str, Request]] = {name: {"hosts": READ_HOSTS, "tailscale": STATUS} for name in names}
    found = replaced(platform, await ask(session.provider, asked, timeout=ASK_S), created)
    if not found:
        return
    listed = ", ".join(f"{name} ({', '.join(sorted(addresses))})" for name, addresses in found.items())
    if await remove(session, found):
        emit(Event(PHASE, "done", f"the old entries of replaced nodes are removed: {listed}"))
    else:
        text = f"the inventory has no `tailnet.api_key`: remove the old entries of replaced nodes yourself: {listed}"
        emit(Event(PHASE, "done", text))


def replaced(platform: Platform, readings: Readings, created: set[str]) -> dict[str, set[str]]:
    """The former addresses of the nodes that are made anew, have another address, or are logged out."""
    members = [node.name for node in platform.nodes]
    found = dict[str, set[str]]()
    for name in members:
        status = NO_ANSWER if name in created else readings.get(name, "tailscale")
        own = address_of(status, platform.settings.tailnet.cidr)
        logged_out = (status.json() or {}).get("BackendState") == "NeedsLogin"
        if not (own or logged_out or name in created):
            continue
        others = (readings.get(other, "hosts").text for other in members if other != name)
        known = {words[0] for text in others for line in text.splitlines() if (words := line.split())[1:] == [name]}
        if former := known - {own}:
            found[name] = former
    return found


async def remove(session: Session, nodes: Entries) -> bool:
    """Remove these entries; False if the inventory has no credential for it. Raises TercetError."""
    platform = session.platform
    if platform.world:
        await at_headscale(session, "delete", nodes)
        return True
    tailnet = ControlPlane(platform.settings.tailnet)
    if not tailnet.can_remove:
        return False
    for name, addresses in nodes.items():
        for address in addresses:
            await asyncio.to_thread(tailnet.remove, {name: address})
    return True


async def at_headscale(session: Session, verb: Literal["expire", "delete"], nodes: Entries) -> None:
    """Make the keys of these nodes expire, or remove their entries, in the lab's headscale. Raises TercetError."""
    world = session.platform.world
    if world is None:
        return
    request = headscale.members_request(verb, nodes)
    answer = (await ask(session.provider, {world.name: {"it": request}}, timeout=CHANGE_S)).get(world.name, "it")
    if not answer.ok:
        raise TercetError(f"headscale did not {verb} {', '.join(nodes)}: {answer.why()}. Run this again")
