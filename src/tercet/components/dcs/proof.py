"""What `verify` proves of `dcs`: only database nodes may write what Patroni reads."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.guard.component import leader_key
from tercet.components.proof import Proof
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Http
from tercet.inventory.platform import Role

# Writes the key only if it was last changed at this index, which it never was. A write that may not be done at all is
# denied before Consul compares the index.
NEVER = 1


def proof(context: Context) -> Proof:
    platform = context.platform
    path = f"/v1/kv/{leader_key(platform)}?cas={NEVER}"
    with_own, without = endpoints.dcs(platform), endpoints.dcs(platform)._replace(authorization="Bearer anonymous")
    asked = {
        node.name: {"proof.tokens": Http(without if node.role is Role.DB else with_own, path, "PUT", b"tercet verify")}
        for node in platform.nodes
    }
    return Proof((denied(asked),), asked)


def denied(names: Iterable[str]) -> Condition:
    """Holds if Consul denied the write to each node."""

    def check(readings: Readings) -> State:
        present = readings.present(names)
        for name in present:
            answer = readings.get(name, "proof.tokens")
            if answer.ok:
                return Waiting(f"{name} may write what Patroni reads, without the token of a database node")
            if answer.status != 403:
                return Waiting(f"{name} does not say whether it may write ({answer.why()})")
        return Passing(f"{len(present)} nodes")

    return Condition("dcs: without the token of a database node, nobody may write what Patroni reads", check)
