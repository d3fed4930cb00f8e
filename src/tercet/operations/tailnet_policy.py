"""`tailnet policy`: the access controls that the tailnet of this platform needs."""

from __future__ import annotations

from tercet.components.tailscale.component import STATUS, Tailscale
from tercet.components.tailscale.policy import policy
from tercet.converge.observe import ask
from tercet.errors import TercetError
from tercet.session.session import Session

ASK_S = 10.0


async def policy_of(session: Session) -> dict[str, object]:
    """The policy with the nodes' present addresses. Raises TercetError while the address of a node is unknown."""
    names = [node.name for node in session.platform.nodes]
    readings = await ask(session.provider, {name: {"tailscale": STATUS} for name in names}, timeout=ASK_S)
    answers = {name: readings.get(name, "tailscale") for name in names if readings.reachable(name)}
    try:
        addresses = Tailscale(session.context).addresses(answers)
    except LookupError as error:
        raise TercetError(f"expected every node in the tailnet, found: {error}. Start it, or run `tercet up`") from None
    return policy(session.platform, addresses)
