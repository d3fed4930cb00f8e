"""The application's database and its user, which owns only this database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni import tls
from tercet.components.patroni.declaration import APPLICATION_PASSWORD, PatroniPorts
from tercet.components.patroni.primary import of_primary
from tercet.converge.component import Condition
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node

_PROGRAMS = {"AS_POSTGRES": " ".join(patroni.AS_POSTGRES), "PSQL": patroni.PSQL}
PROBE = text_of(__package__, "application-probe.sh", CA=tls.FOLDER.ca, **_PROGRAMS)
CHANGE = text_of(__package__, "application-change.sh", **_PROGRAMS)


@dataclass(frozen=True, slots=True)
class Application:
    """The application's user and database."""

    context: Context
    name: str = "application"
    after: tuple[str, ...] = ("patroni-lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        settings = self.context.platform.settings
        postgresql, port = settings.postgresql, str(settings.ports.of(PatroniPorts).postgresql)
        password = self.context.secrets.password(APPLICATION_PASSWORD).encode() + b"\n"
        words = (postgresql.user, postgresql.database, port)
        yield from of_primary(
            self.context,
            node,
            f"database {postgresql.database} and its user {postgresql.user}",
            Exec(("sh", "-c", PROBE, "sh", *words), stdin=password),
            Exec(("sh", "-c", CHANGE, "sh", *words), stdin=password, timeout=20),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()
