"""The small daemons beside each PostgreSQL: strict mode made true, an end for what is frozen, no wait for a turn.

What they do, and what they cannot cover, is in nodeside/strict.py, nodeside/liveness.py and nodeside/wake.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import patroni
from tercet.components.context import Context
from tercet.components.guard import SUPERVISED, daemon
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node, Platform, Role

STRICT = "tercet-strict.service"
# A standby is not asked: it refuses writes anyway, and a psql takes 0.03 s of a core.
READ_ONLY = Exec(
    (
        *("sh", "-c", f'[ -e {patroni.DATA}/standby.signal ] || exec "$@"', "sh", *patroni.AS_POSTGRES),
        *(patroni.PSQL, "-XAtq", "-c", "SHOW default_transaction_read_only"),
    )
)


@dataclass(frozen=True, slots=True)
class Sentinel:
    """After Patroni's gate, because the cluster's creation writes before any standby exists."""

    context: Context
    name: str = "sentinel"
    after: tuple[str, ...] = ("lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is not Role.DB:
            return
        settings = self.context.platform.settings
        ports = settings.ports
        yield from daemon(
            "strict",
            "Refuses writes while no standby confirms them",
            {"needed": settings.patroni.synchronous_node_count, "port": ports.postgresql},
            modules=("host",),
            service=SUPERVISED,
        )
        yield from daemon(
            "liveness",
            "Ends a frozen Patroni or postmaster",
            {
                "api": [node.name, ports.patroni],
                "socket": f"/run/postgresql/.s.PGSQL.{ports.postgresql}",
                "pid_file": f"{patroni.DATA}/postmaster.pid",
            },
        )

        yield from daemon(
            "wake",
            "Wakes Patroni for a new leader and for a crash",
            {
                "dcs_port": ports.dcs_http,
                "scope": f"service/{settings.postgresql.service}",
                "node": node.name,
                "api": [node.name, ports.patroni],
                "user": patroni.REST_USER,
                "password": self.context.secrets.patroni_api,
                "pid_file": f"{patroni.DATA}/postmaster.pid",
            },
            secret=True,
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        if node.role is not Role.DB:
            return {}
        return {**patroni.Patroni(self.context).questions(node), "read_only": READ_ONLY}

    def healthy(self) -> Iterable[Condition]:
        databases = tuple((node.name, STRICT) for node in self.context.platform.of(Role.DB))
        yield Condition("postgresql: the primary accepts writes", _writable(self.context.platform), databases)


def read_only(readings: Readings, node: str) -> bool:
    """The node refuses new writes (or does not say)."""
    return readings.get(node, "read_only").text.strip() != "off"


def _writable(platform: Platform) -> Callable[[Readings], State]:
    databases = [node.name for node in platform.of(Role.DB)]

    def check(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        if not primary:
            return Waiting("no running primary")
        if read_only(readings, primary):
            return Waiting(f"{primary} is read-only: no standby confirms writes")
        return Passing(primary)

    return check
