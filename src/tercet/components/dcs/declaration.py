"""The declaration of `dcs`: its ports, its log lines, its part of `status`, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.declaration import USER
from tercet.components.consul.journal import CONSUL
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Cost, Process
from tercet.inventory.journals import UnitJournal
from tercet.inventory.openings import Opening, Use, gossip
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port

UNIT = "consul-dcs.service"


class DcsPorts(Model):
    dcs_http: Port = 9500
    """The stretched datacenter `dcs` that Patroni elects its leader through."""
    dcs_dns: Port = 9600
    dcs_serf_lan: Port = 9301
    dcs_serf_wan: Port = 9302
    dcs_server: Port = 9300


NODES = (Role.CONTROL, Role.APPS, Role.DB)

DECLARATION = ComponentDeclaration(
    components=("component:Dcs", "component:DcsAgents"),
    ports=DcsPorts,
    gossip=("dcs_serf_lan", "dcs_serf_wan"),
    journals=(UnitJournal(UNIT, "dcs", CONSUL),),
    processes=(Process("dcs", UNIT, NODES, (Cost.PRIMARY,)),),
    status=("status:DATACENTERS",),
    proof="proof:proof",
    uses=(Use("dcs_dns"), *(Use(port, USER) for port in ("dcs_serf_lan", "dcs_serf_wan", "dcs_server"))),
    listens=NODES,
    opens=(
        gossip("dcs_serf_lan", NODES),
        gossip("dcs_serf_wan", (Role.CONTROL,)),
        Opening("dcs_server", to=(Role.CONTROL,), of=NODES),
    ),
)
