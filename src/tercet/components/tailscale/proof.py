"""What `verify` proves of the tailnet: its paths, which are found with traffic only, and its access controls."""

from __future__ import annotations

from tercet.components.context import Context
from tercet.components.proof import Proof
from tercet.components.tailscale.admitted import RULES, admitted, beyond
from tercet.components.tailscale.component import claims, peers_of
from tercet.converge.component import Condition, Deviating, Passing, Readings, State, Waiting
from tercet.inventory.platform import Platform


def proof(context: Context) -> Proof:
    platform = context.platform
    names = [node.name for node in platform.nodes]
    asked = {name: {"proof.rules": RULES} for name in names}
    return Proof((direct_paths(names), access_controls(platform)), asked)


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


def access_controls(platform: Platform) -> Condition:
    """Each node's tailscaled admits only what the node's firewall opens. In a tailnet of the operator's own, it is the
    operator who puts the access controls into force; until then, the firewalls alone keep others out.
    """

    def check(readings: Readings) -> State:
        names = {claim: node.name for node in platform.nodes for claim in claims(readings.get(node.name, "tailscale"))}
        count = 0
        for node in platform.nodes:
            answer = readings.get(node.name, "proof.rules")
            found = admitted(answer, names)
            if found is None:
                return Waiting(f"{node.name} does not say what it admits ({answer.why()})")
            if excess := beyond(platform, node, found):
                more = f", and {len(excess) - 1} more" if len(excess) > 1 else ""
                reason = f"{excess[0]} of {node.name}{more}"
                if platform.world:
                    return Waiting(reason)
                return Deviating(f"{reason}, which only its firewall refuses: see `tercet tailnet policy`")
            count += len(found)
        return Passing(f"{count} rules")

    return Condition("tailnet: access controls admit only what each role needs", check)
