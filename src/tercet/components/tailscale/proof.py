"""What `verify` proves of the tailnet: it takes traffic to find a path."""

from __future__ import annotations

from tercet.components.context import Context
from tercet.components.proof import Proof
from tercet.components.tailscale.component import peers_of
from tercet.converge.component import Condition, Passing, Readings, State, Waiting


def proof(context: Context) -> Proof:
    return Proof((direct_paths([node.name for node in context.platform.nodes]),))


def direct_paths(names: list[str]) -> Condition:
    """Every pair of nodes talks directly, not through a relay."""

    def check(readings: Readings) -> State:
        for name in names:
            peers = peers_of(readings.get(name, "tailscale"))
            for other in names:
                if other != name and not peers.get(other, {}).get("CurAddr"):
                    return Waiting(f"{name} has no direct path to {other}")
        return Passing(f"{len(names) * (len(names) - 1)} direct paths")

    return Condition("tailnet: all paths are direct", check)
