"""What is patroni's own in the inventory."""

from __future__ import annotations

from tercet.components.patroni.journal import JOURNALS
from tercet.inventory.base import Model
from tercet.inventory.components import Declaration, Process
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port


class PatroniPorts(Model):
    postgresql: Port = 5432
    """PostgreSQL, on db nodes."""
    patroni: Port = 8008
    """Patroni's REST API, on db nodes."""


DECLARATION = Declaration(
    components=(
        "aside:Aside",
        "component:Patroni",
        "rewinder:Rewinder",
        "settings:Settings",
        "settings:Restarts",
        "settings:restarts_of_lowered",
        "sentinel:Sentinel",
        "application:Application",
    ),
    ports=PatroniPorts,
    journals=JOURNALS,
    processes=(
        Process("postmaster", "", (Role.DB,)),  # Patroni's child
        Process("patroni", "patroni.service", (Role.DB,)),
    ),
    listens=(Role.DB,),
)
