"""Consul's declaration: ports, version and source, log lines, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.journal import CONSUL
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Process
from tercet.inventory.journals import UnitJournal
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version


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


DECLARATION = ComponentDeclaration(
    components=("component:Consul",),
    programs=("programs:CONSUL",),
    versions=ConsulVersion,
    sources=ConsulSource,
    ports=ConsulPorts,
    gossip=("consul_serf_lan", "consul_serf_wan"),
    journals=(UnitJournal("consul.service", "consul", CONSUL),),
    processes=(Process("consul", "consul.service", (Role.CONTROL, Role.APPS, Role.DB)),),
    listens=(Role.CONTROL, Role.APPS, Role.DB),
)
