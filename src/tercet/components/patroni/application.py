"""The application's database and its user, which owns only this database.

Both are in the replicated database, so they are checked and made on the node that is primary at that time, which may be
another node than when the plan was made. A standby answers "standby".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni.declaration import APPLICATION_PASSWORD, PatroniPorts
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role

_PROGRAMS = {"AS_POSTGRES": " ".join(patroni.AS_POSTGRES), "PSQL": patroni.PSQL}
PROBE = text_of(__package__, "application-probe.sh", **_PROGRAMS)
CHANGE = text_of(__package__, "application-change.sh", **_PROGRAMS)


@dataclass(frozen=True, slots=True)
class Application:
    """The application's user and database."""

    context: Context
    name: str = "application"
    after: tuple[str, ...] = ("patroni-lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        platform = self.context.platform
        if (
            node != platform.initial_primary
        ):  # declared once, on this node; while there is no cluster, it is planned there
            return
        postgresql, port = platform.settings.postgresql, str(platform.settings.ports.of(PatroniPorts).postgresql)
        password = self.context.secrets.password(APPLICATION_PASSWORD).encode() + b"\n"
        words = (postgresql.user, postgresql.database, port)
        others = (database.name for database in platform.of(Role.DB) if database != node)
        yield Object(
            f"database {postgresql.database} and its user {postgresql.user}",
            Exec(("sh", "-c", PROBE, "sh", *words), stdin=password),
            not_ready,
            (Exec(("sh", "-c", CHANGE, "sh", *words), stdin=password, timeout=20),),
            on=(node.name, *others),
            here=on_primary,
            settle=self.context.timing.ttl + 30.0,  # a failover takes up to ttl if gossip does not end the session
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def on_primary(answer: Answer) -> bool:
    """Whether the answer to a probe is from the primary: a standby answers "standby"."""
    return answer.ok and answer.text.strip() != "standby"


def not_ready(answer: Answer) -> str | None:
    """The reason for a change, from a probe that answers "ready" if there is none."""
    if not on_primary(answer):
        return "no database node is primary"
    text = answer.text.strip()
    return None if text == "ready" else text
