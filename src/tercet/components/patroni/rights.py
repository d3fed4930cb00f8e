"""What Patroni and the programs around it may do in `dcs`, on database nodes."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.consul.access import Rule, Rules
from tercet.components.context import Context
from tercet.components.patroni.declaration import scope
from tercet.components.patroni.sentinel import ROOM_KEYS
from tercet.components.patroni.votes import REPORTS
from tercet.inventory.platform import Node, Role


def _database(context: Context, node: Node) -> Iterable[Rule]:
    if node.role is not Role.DB:
        return
    platform = context.platform
    service = platform.settings.postgresql.service
    yield Rule("service", service, "write")
    for prefix in (scope(platform), REPORTS, ROOM_KEYS):
        yield Rule("key_prefix", f"{prefix}/", "write")
    # Of the other database nodes, too: they end the sessions of one that has failed (nodeside/sessions.py).
    for database in platform.of(Role.DB):
        yield Rule("session", database.name, "write")


RIGHTS = Rules(_database)
