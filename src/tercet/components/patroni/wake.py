"""The daemon that wakes Patroni for a new leader and for a crash, and ends the sessions of dead nodes.

nodeside/wake.py and nodeside/sessions.py say how. It comes before Patroni: until `dcs` has the dynamic configuration,
Patroni's loop_wait is 10 s, its default. The standbys of a new cluster noticed its leader up to 10 s late (8 s seen).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.guard.component import CLIENT, daemon
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import scope
from tercet.components.sandbox import Sandbox
from tercet.converge.component import Condition
from tercet.converge.requests import Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Platform, Role

# Nodes that are near each other need 0.35 to 0.45 s to elect a leader (measured in the lab on two cores).
HEAD_START_S = 0.5
REMOTE_MS = 5.0


def is_remote(platform: Platform, node: Node) -> bool:
    """Whether a database node is farther from the others than they are from each other, so that they should lead."""
    others = [peer for peer in platform.of(Role.DB) if peer != node]
    own = min((platform.latency_ms(node.site, peer.site) for peer in others), default=0.0)
    theirs = [platform.latency_ms(one.site, other.site) for one, other in combinations(others, 2)]
    return bool(theirs) and own - max(theirs) >= REMOTE_MS


@dataclass(frozen=True, slots=True)
class Wake:
    """`tercet-wake` on each database node."""

    context: Context
    name: str = "wake"
    after: tuple[str, ...] = ("dcs-agents",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        platform = self.context.platform
        yield from daemon(
            "wake",
            "Wakes Patroni for a new leader and for a crash, ends the sessions of dead nodes",
            {
                "dcs": endpoints.dcs(platform)._asdict(),
                "scope": scope(platform),
                "node": node.name,
                "patroni": endpoints.patroni(platform, node.name, self.context.secrets)._asdict(),
                "pid_file": f"{patroni.DATA}/postmaster.pid",
                "patience_s": HEAD_START_S if is_remote(platform, node) else 0,
                "peers": [peer.name for peer in platform.of(Role.DB) if peer != node],
            },
            modules=(*CLIENT, "keys", "pings", "processes", "sessions"),
            secret=True,
            # Pings; the files of postgres.
            sandbox=Sandbox(capabilities=("CAP_NET_RAW", "CAP_DAC_READ_SEARCH")),
        )

    def questions(self, _node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()
