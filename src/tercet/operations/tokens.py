"""Creates the tokens of a Consul datacenter whose Raft is new."""

from __future__ import annotations

from tercet.components.consul.access import SET_S, Datacenter, give
from tercet.converge.observe import ask
from tercet.errors import TercetError
from tercet.session.session import Session


async def create_tokens(session: Session, datacenter: Datacenter) -> None:
    """Create what is missing, when the datacenter has a leader. Raises TercetError with the reason if that fails."""
    server = datacenter.servers[0]
    readings = await ask(session.provider, {server: {"tokens": give(session.context, datacenter)}}, timeout=SET_S + 5)
    answer = readings.get(server, "tokens")
    if not answer.ok:
        raise TercetError(f"{datacenter.name} did not take its tokens: {answer.why()}. Run this again")
