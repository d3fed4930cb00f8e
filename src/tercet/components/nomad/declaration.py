"""Nomad's declaration: ports, version and source, log lines, its part of `status`, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.journal import GOSSIP
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Process, Reserved
from tercet.inventory.journals import UnitJournal, What, rules
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version

NOMAD = (*GOSSIP, *rules((What.NODE_EXPIRED, r"node TTL expired: node_id=(\S+)")))  # nomad/heartbeat.go, Nomad 1.11


class NomadPorts(Model):
    nomad_http: Port = 4646
    nomad_rpc: Port = 4647
    nomad_serf: Port = 4648


class NomadVersion(Model):
    nomad: Version = "1.11.3"


class NomadSource(Model):
    nomad: Source = "auto"


DECLARATION = ComponentDeclaration(
    components=("component:Nomad",),
    programs=("programs:NOMAD",),
    versions=NomadVersion,
    sources=NomadSource,
    ports=NomadPorts,
    gossip=("nomad_serf",),
    journals=(UnitJournal("nomad.service", "nomad", NOMAD),),
    processes=(Process("nomad", "nomad.service", (Role.CONTROL, Role.APPS)),),
    status=("status:CLUSTER",),
    listens=(Role.CONTROL, Role.APPS),
    reserved=(Reserved(Role.APPS, range(20000, 32001), "Nomad gives jobs their ports from 20000-32000"),),
)
