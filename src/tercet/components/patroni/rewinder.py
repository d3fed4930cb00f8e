"""Lets the user of pg_rewind open a read-write session on a primary that is read-only.

Patroni connects with `target_session_attrs=read-write` before and during a rewind (postgresql/rewind.py, _conn_kwargs),
and libpq refuses a server with `default_transaction_read_only` on. The primary has this setting while no standby
confirms (see nodeside/strict.py). So a diverged node would not be rewound, no node would become a standby, and the
primary would stay read-only. The role's own setting overrides the server's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.application import not_ready, on_primary
from tercet.components.patroni.declaration import REWINDER
from tercet.converge.component import Condition
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role

PROBE = text_of(__package__, "rewinder-probe.sql", REWINDER=REWINDER)
CHANGE = text_of(__package__, "rewinder-change.sql", REWINDER=REWINDER)


@dataclass(frozen=True, slots=True)
class Rewinder:
    """The setting, which is made on the node that is primary at that time."""

    context: Context
    name: str = "rewinder"
    after: tuple[str, ...] = ("patroni",)

    def desired(self, node: Node) -> Iterable[Resource]:
        platform = self.context.platform
        if (
            node != platform.initial_primary
        ):  # declared once, on this node; while there is no cluster, it is planned there
            return
        psql = (*patroni.AS_POSTGRES, patroni.PSQL, "-XAtq", "-v", "ON_ERROR_STOP=1")
        others = (database.name for database in platform.of(Role.DB) if database != node)
        yield Object(
            f"user {REWINDER} can rewind from a read-only primary",
            Exec((*psql, "-c", PROBE)),
            not_ready,
            (Exec(psql, stdin=CHANGE.encode()),),
            on=(node.name, *others),
            here=on_primary,
            settle=self.context.timing.ttl + 30.0,  # a failover takes up to ttl if gossip does not end the session
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()
