"""Binding votes: a standby follows only the holder of the leader key, and no node is promoted without its report.

nodeside/follow.py and nodeside/votes.py say how. Comes before Patroni, whose `pre_promote` needs the reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.guard.component import CLIENT, SUPERVISED, active, daemon
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import PatroniPorts, scope
from tercet.components.sandbox import Sandbox
from tercet.components.tailscale.component import HOSTS
from tercet.converge.component import Condition
from tercet.converge.requests import Active, Request
from tercet.converge.resources import File, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role

FOLLOW = "tercet-follow.service"
REPORTS = "tercet/follow"  # in the KV store of `dcs`, by node: what it has, and whom it may follow


@dataclass(frozen=True, slots=True)
class Votes:
    """The daemon that reports, and the program that counts, on each database node."""

    context: Context
    name: str = "votes"
    after: tuple[str, ...] = ("dcs-agents",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        platform = self.context.platform
        ports = platform.settings.ports.of(PatroniPorts)
        yield from daemon(
            "follow",
            "A standby follows only the holder of the leader key",
            {
                "node": node.name,
                "dcs": endpoints.dcs(platform)._asdict(),
                "scope": scope(platform),
                "reports": REPORTS,
                "patroni": endpoints.patroni(platform, node.name)._asdict(),
                "votes": ports.votes,
                "peers": [peer.name for peer in platform.of(Role.DB) if peer != node],
                "port": ports.postgresql,
                "data": patroni.DATA,
                "controldata": f"{patroni.BIN}/pg_controldata",
                "hosts": HOSTS,
                "tailnet": str(platform.settings.tailnet.cidr),
            },
            modules=(*CLIENT, "host", "keys", "processes", "stray", "tailnet", "timeline", "votes"),
            service=SUPERVISED,
            # nft and `ss --kill`; the files of postgres and the working directories of its processes; signals to them.
            sandbox=Sandbox(capabilities=("CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_KILL")),
        )
        script = text_of(__package__, "pre-promote.sh", PORT=str(ports.votes))
        yield File(patroni.PRE_PROMOTE, script.encode(), mode=0o755)

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {"follow": Active(FOLLOW)} if node.role is Role.DB else {}

    def healthy(self) -> Iterable[Condition]:
        names = [node.name for node in self.context.platform.of(Role.DB)]
        title = "patroni: votes are reported by every database node"
        yield Condition(title, active(names, "follow"), tuple((name, FOLLOW) for name in names))
