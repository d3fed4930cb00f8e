"""Consul's declaration: ports, version and source, log lines, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.journal import CONSUL
from tercet.inventory.accounts import Account
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Process
from tercet.inventory.generated import Authority, Password
from tercet.inventory.journals import UnitJournal
from tercet.inventory.openings import Opening, Use, gossip
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version

USER = "consul"
AUTHORITY = Authority("consul_ca", "tercet Consul", "consul", live=True)  # Consul wants names that end in ".consul"
UNIT = "consul.service"
GOSSIP = Password("consul_gossip", live=True)
SEED = Password("consul_tokens", live=True)  # all tokens are derived from it (tokens.py)


class ConsulPorts(Model):
    consul_http: Port = 8500
    consul_dns: Port = 8600
    consul_serf_lan: Port = 8301
    consul_serf_wan: Port = 8302
    consul_server: Port = 8300


class ConsulVersion(Model):
    consul: Version = "1.22.7"


class ConsulSource(Model):
    consul: Source = "auto"


NODES = (Role.CONTROL, Role.APPS, Role.DB)

DECLARATION = ComponentDeclaration(
    components=("credentials:Credentials", "component:Consul", "retired:Retired"),
    programs=("programs:CONSUL",),
    versions=ConsulVersion,
    sources=ConsulSource,
    ports=ConsulPorts,
    secrets=(GOSSIP, SEED, AUTHORITY),
    additions=("tls:SECRETS", "access:TOKENS", "retired:PREPARATION"),
    gossip=("consul_serf_lan", "consul_serf_wan"),
    journals=(UnitJournal(UNIT, "consul", CONSUL),),
    processes=(Process("consul", UNIT, NODES),),
    accounts=(Account(USER, NODES),),
    uses=(
        Use("consul_dns"),
        *(Use(port, USER) for port in ("consul_serf_lan", "consul_serf_wan", "consul_server")),
    ),
    listens=NODES,
    opens=(
        gossip("consul_serf_lan", NODES, within_site=True),
        gossip("consul_serf_wan", (Role.CONTROL,)),
        Opening("consul_server", to=(Role.CONTROL,), of=NODES, within_site=True),
        Opening("consul_server", to=(Role.CONTROL,), of=(Role.CONTROL,)),  # requests for another datacenter
    ),
)
