"""The application's database, its user, which owns only this database, and a second login with the rights of this user.

The second login takes on the user's role at the start of each session, so what it creates belongs to the user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.patroni import component as patroni
from tercet.components.patroni import tls
from tercet.components.patroni.declaration import PatroniPorts, logins
from tercet.components.patroni.primary import of_primary
from tercet.converge.component import Condition
from tercet.converge.requests import Exec, Request
from tercet.converge.resources import Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node

_PROGRAMS = {"AS_POSTGRES": " ".join(patroni.AS_POSTGRES), "PSQL": patroni.PSQL}
PROBE = text_of(__package__, "application-probe.sh", CA=tls.FOLDER.ca, **_PROGRAMS)
CHANGE = text_of(__package__, "application-change.sh", **_PROGRAMS)
PROBE_LOGIN = text_of(__package__, "login-probe.sh", CA=tls.FOLDER.ca, **_PROGRAMS)
CHANGE_LOGIN = text_of(__package__, "login-change.sh", **_PROGRAMS)


@dataclass(frozen=True, slots=True)
class Application:
    """The application's user, its database and its second login."""

    context: Context
    name: str = "application"
    after: tuple[str, ...] = ("patroni-lowered",)

    def desired(self, node: Node) -> Iterable[Resource]:
        settings = self.context.platform.settings
        postgresql, port = settings.postgresql, str(settings.ports.of(PatroniPorts).postgresql)
        words = (postgresql.user, postgresql.database, port)
        (_, password), (second, other) = (
            (name, self.context.secrets.password(which).encode() + b"\n")
            for name, which in logins(self.context.platform).items()
        )
        yield from of_primary(
            self.context,
            node,
            f"database {postgresql.database} and its user {postgresql.user}",
            Exec(("sh", "-c", PROBE, "sh", *words), stdin=password),
            Exec(("sh", "-c", CHANGE, "sh", *words), stdin=password, timeout=20),
        )
        yield from of_primary(
            self.context,
            node,
            f"second login {second} of {postgresql.user}",
            Exec(("sh", "-c", PROBE_LOGIN, "sh", second, *words), stdin=other),
            Exec(("sh", "-c", CHANGE_LOGIN, "sh", second, *words), stdin=other, timeout=20),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()
