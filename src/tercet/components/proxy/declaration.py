"""What is proxy's own in the inventory."""

from __future__ import annotations

from tercet.components.proxy.journal import JOURNALS
from tercet.inventory.base import Model
from tercet.inventory.components import Declaration, Reserved
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port


class ProxyPorts(Model):
    proxy: Port = 5432
    """Where applications connect, on localhost of each apps node."""


DECLARATION = Declaration(
    components=("component:Proxy",),
    ports=ProxyPorts,
    journals=JOURNALS,
    listens=(Role.APPS,),
    reserved=(Reserved(Role.APPS, range(9898, 9899), "pgpool-II's PCP listens there"),),
)
