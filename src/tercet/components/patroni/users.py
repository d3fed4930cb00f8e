"""PostgreSQL's own users: their passwords, a setting of the user of pg_rewind, and the user for monitoring.

Patroni creates the others with their passwords when it creates the cluster, and never looks at them again. So this
component compares them, and brings a password that was changed in the secrets (`tercet secrets rotate`) into the
database.

The user for monitoring reads statistics of every session and table, but no data (`pg_monitor`). It cannot use up the
connections of the application. Its timeouts keep a broken exporter from holding back vacuum; they are no defence
against somebody with its password, because each session may change them.

The setting of the user of pg_rewind lets it open a read-write session on a primary that is read-only. Patroni connects
with `target_session_attrs=read-write` before and during a rewind (postgresql/rewind.py, _conn_kwargs), and libpq
refuses a server with `default_transaction_read_only` on. The primary has this setting while no standby confirms (see
nodeside/strict.py). So a diverged node would not be rewound, no node would become a standby, and the primary would stay
read-only. The role's own setting overrides the server's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import (
    MONITOR,
    MONITOR_PASSWORD,
    REPLICATOR,
    REPLICATOR_PASSWORD,
    REWINDER,
    REWINDER_PASSWORD,
    SUPERUSER,
    SUPERUSER_PASSWORD,
)
from tercet.components.patroni.primary import of_primary
from tercet.converge.component import Condition
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node

PASSWORDS = {
    SUPERUSER: SUPERUSER_PASSWORD,
    REPLICATOR: REPLICATOR_PASSWORD,
    REWINDER: REWINDER_PASSWORD,
    MONITOR: MONITOR_PASSWORD,
}
MONITOR_CONNECTIONS = 5
MONITOR_TIMEOUT = "10s"  # of a statement, and of a transaction that does nothing
RIGHTS: dict[str, dict[str, Any]] = {
    REWINDER: {"settings": ["default_transaction_read_only=off"]},
    MONITOR: {
        "settings": [f"statement_timeout={MONITOR_TIMEOUT}", f"idle_in_transaction_session_timeout={MONITOR_TIMEOUT}"],
        "member_of": ["pg_monitor"],
        "connections": MONITOR_CONNECTIONS,
    },
}
PROBE = files("tercet.nodeside").joinpath("verifiers.py").read_text(encoding="utf-8")
CHANGE = text_of(
    __package__,
    "users-change.sql",
    REWINDER=REWINDER,
    MONITOR=MONITOR,
    CONNECTIONS=str(MONITOR_CONNECTIONS),
    TIMEOUT=MONITOR_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class Users:
    """The users, on the node that is primary at that time."""

    context: Context
    name: str = "users"
    after: tuple[str, ...] = ("patroni",)

    def desired(self, node: Node) -> Iterable[Resource]:
        psql = (*patroni.AS_POSTGRES, patroni.PSQL, "-XAtq", "-v", "ON_ERROR_STOP=1")
        passwords = {user: self.context.secrets.password(which) for user, which in PASSWORDS.items()}
        users = {user: {"password": password, **RIGHTS.get(user, {})} for user, password in passwords.items()}
        asked = json.dumps({"psql": psql, "users": users})
        # A password needs no quotes in SQL: see PUNCTUATION in inventory/secrets.py.
        alter = "".join(f"ALTER ROLE {user} PASSWORD '{password}';\n" for user, password in passwords.items())
        yield from of_primary(
            self.context,
            node,
            "PostgreSQL's own users",
            Exec(("python3", "-I", "-c", PROBE), stdin=asked.encode()),
            Exec(psql, stdin=(CHANGE + alter).encode()),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()
