"""Root of a node tries the right passwords of PostgreSQL where they are not admitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tercet.components.patroni.component import PSQL
from tercet.components.patroni.declaration import (
    MONITOR,
    MONITOR_PASSWORD,
    REPLICATOR,
    REPLICATOR_PASSWORD,
    REWINDER,
    REWINDER_PASSWORD,
    SUPERUSER,
    SUPERUSER_PASSWORD,
    PatroniPorts,
    logins,
)
from tercet.components.patroni.status import PostgresKeys
from tercet.converge.observe import ask
from tercet.converge.requests import Exec
from tercet.drills.intruder.attempt import ASK_S, Attempt
from tercet.errors import TercetError
from tercet.inventory.generated import Password
from tercet.inventory.platform import Role
from tercet.session.session import Session

# The first line of standard input is the password. Arguments: psql, connection string, statement.
LOG_IN = 'read -r PGPASSWORD; export PGPASSWORD PGCONNECT_TIMEOUT=5; exec "$1" -XAtq "$2" -c "$3" 2>&1'
REFUSED = "pg_hba.conf"  # in PostgreSQL's message if it admits nobody of that name from there
DENIED = "permission denied"  # in the message if the user may not execute the statement


@dataclass(frozen=True, slots=True)
class Login:
    """`admitted` are the roles of the nodes from which it may succeed. Elsewhere, the message must have one of
    `refusals`.
    """

    password: Password
    options: str
    statement: str = "SELECT 1"
    admitted: tuple[Role, ...] = ()
    refusals: tuple[str, ...] = (REFUSED,)


def known(application: Mapping[str, Password], database: str) -> dict[str, Login]:
    """`application` are the logins of the application."""
    monitor = f"user={MONITOR} dbname=postgres"
    found = {
        "the superuser": Login(SUPERUSER_PASSWORD, f"user={SUPERUSER} dbname=postgres"),
        "the replicator": Login(
            REPLICATOR_PASSWORD, f"user={REPLICATOR} replication=true", "IDENTIFY_SYSTEM", (Role.DB,)
        ),
        "the replicator, for SQL": Login(REPLICATOR_PASSWORD, f"user={REPLICATOR} dbname=postgres"),
        "the rewinder": Login(REWINDER_PASSWORD, f"user={REWINDER} dbname=postgres", admitted=(Role.DB,)),
        "the rewinder, for data": Login(REWINDER_PASSWORD, f"user={REWINDER} dbname={database}"),
        "the monitor": Login(MONITOR_PASSWORD, monitor, "SELECT FROM pg_stat_activity", (Role.APPS,)),
        "the monitor, for passwords": Login(
            MONITOR_PASSWORD, monitor, "SELECT rolpassword FROM pg_authid", refusals=(REFUSED, DENIED)
        ),
        "the monitor, for a program": Login(
            MONITOR_PASSWORD, monitor, "COPY (SELECT 1) TO PROGRAM 'true'", refusals=(REFUSED, DENIED)
        ),
        "the replicator, without TLS": Login(
            REPLICATOR_PASSWORD, f"user={REPLICATOR} replication=true sslmode=disable", "IDENTIFY_SYSTEM"
        ),
    }
    for name, password in application.items():
        login = f"user={name} dbname={database}"
        found[f"the application's {name}, without TLS"] = Login(password, f"{login} sslmode=disable")
        found[f"the application's {name}"] = Login(password, login, admitted=(Role.APPS,))
    return found


async def attempts(session: Session) -> list[Attempt]:
    """At the primary, because database nodes may reach no other PostgreSQL. Raises TercetError if there is none, or if
    a login that is admitted fails: then a refusal would prove nothing.
    """
    platform, settings = session.platform, session.platform.settings
    primary = (await session.snapshot()).of(PostgresKeys).postgres.primary
    if not primary:
        raise TercetError("expected a primary, found none: run `tercet status`")
    site = next(each.name for each in platform.sites if each.name != platform.node(primary).site)
    where = f"host={primary} port={settings.ports.of(PatroniPorts).postgresql}"
    tried = known(logins(platform), settings.postgresql.database)
    nodes = {role: platform.at(site, role).name for role in (Role.APPS, Role.DB)}
    asked = {
        node: {
            name: Exec(
                ("sh", "-c", LOG_IN, "sh", PSQL, f"{where} {login.options}", login.statement),
                stdin=f"{session.context.secrets.password(login.password)}\n".encode(),
                timeout=15,
            )
            for name, login in tried.items()
        }
        for node in nodes.values()
    }
    readings = await ask(session.provider, asked, timeout=ASK_S)
    found = []
    for role, node in nodes.items():
        for name, login in tried.items():
            answer = readings.get(node, name)
            if role in login.admitted:
                if not answer.ok:
                    raise TercetError(f"expected {name} to log in from {node}, found: {answer.why()}")
                continue
            refused = any(word in answer.text for word in login.refusals)
            reached = "" if refused else f"it is not refused: {answer.why()}"
            found.append(Attempt(f"root on {node}", f"logs in as {name} with the right password", reached))
    return found
