"""Patroni's declaration: ports, secrets, users, log lines, its part of `status`, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.declaration import USER as CONSUL
from tercet.components.patroni.journal import JOURNALS
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Process
from tercet.inventory.generated import Authority, Password
from tercet.inventory.openings import Opening, Use
from tercet.inventory.platform import Platform, Role
from tercet.inventory.shapes import Port

SUPERUSER, REPLICATOR, REWINDER, MONITOR = "postgres", "replicator", "rewinder", "tercet_monitor"
PROBER = "tercet_probe"
"""There is no such user. nodeside/routes.py begins sessions under this name and never finishes them."""
SUPERUSER_PASSWORD = Password("postgres_superuser", live=True)
REPLICATOR_PASSWORD = Password("postgres_replication", live=True)
REWINDER_PASSWORD = Password("postgres_rewind", live=True)
MONITOR_PASSWORD = Password("postgres_monitoring", live=True)
APPLICATION_PASSWORD = Password("postgres_application", live=True)
SECOND_PASSWORD = Password("postgres_application_2", live=True)
# For the names of nodes, with which they know each other. It has no name above them to be constrained to.
AUTHORITY = Authority("postgres_ca", "tercet PostgreSQL", "", live=True)
# Of Patroni's REST API, for everything that changes something.
API_PASSWORD = Password("patroni_api", live=True)


def logins(platform: Platform) -> dict[str, Password]:
    """The names with which the application can log in, and their passwords. Both have the same rights, so that one of
    them works while the password of the other is replaced. The first one owns the database.
    """
    user = platform.settings.postgresql.user
    return {user: APPLICATION_PASSWORD, f"{user[:61]}_2": SECOND_PASSWORD}  # PostgreSQL cuts names after 63 characters


def scope(platform: Platform) -> str:
    """The path of Patroni's keys in the KV store of `dcs`."""
    return f"service/{platform.settings.postgresql.service}"


class PatroniPorts(Model):
    postgresql: Port = 5432
    """PostgreSQL, on db nodes."""
    patroni: Port = 8008
    """Patroni's REST API, on db nodes."""
    votes: Port = 8009
    """Says on loopback whether a standby may be promoted, on db nodes."""


DECLARATION = ComponentDeclaration(
    components=(
        "aside:Aside",
        "votes:Votes",
        "wake:Wake",
        "component:Patroni",
        "users:Users",
        "settings:Settings",
        "settings:Restarts",
        "settings:restarts_of_lowered",
        "sentinel:Sentinel",
        "application:Application",
    ),
    ports=PatroniPorts,
    secrets=(
        *(SUPERUSER_PASSWORD, REPLICATOR_PASSWORD, REWINDER_PASSWORD, MONITOR_PASSWORD),
        *(APPLICATION_PASSWORD, SECOND_PASSWORD, API_PASSWORD, AUTHORITY),
    ),
    database_users=(SUPERUSER, REPLICATOR, REWINDER, MONITOR, PROBER),
    journals=JOURNALS,
    processes=(
        Process("postmaster", "", (Role.DB,)),  # Patroni's child
        Process("patroni", "patroni.service", (Role.DB,)),
    ),
    additions=("service:DATABASE", "rights:RIGHTS", "tls:SECRETS"),
    proof="proof:proof",
    status=("status:MEMBERS", "status:ASIDE"),
    # Patroni, PostgreSQL and what they start.
    uses=(
        *(Use(port, "postgres") for port in ("postgresql", "patroni", "votes", "dcs_http")),
        Use("patroni", CONSUL),  # the checks of the database as a service
    ),
    listens=(Role.DB,),
    opens=(
        Opening("postgresql", to=(Role.DB,), of=(Role.APPS, Role.DB)),
        Opening("patroni", to=(Role.DB,), of=(Role.DB,)),
    ),
)
