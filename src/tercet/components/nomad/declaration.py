"""Nomad's declaration: ports, version and source, log lines, its part of `status`, and processes for drills to hit."""

from __future__ import annotations

from tercet.components.consul.declaration import USER as CONSUL
from tercet.components.consul.journal import GOSSIP
from tercet.inventory.accounts import Account
from tercet.inventory.base import Model
from tercet.inventory.components import ComponentDeclaration, Process, Reserved
from tercet.inventory.generated import Authority, Password
from tercet.inventory.journals import UnitJournal, What, rules
from tercet.inventory.openings import Opening, Use, gossip
from tercet.inventory.platform import Role
from tercet.inventory.shapes import Port, Source, Version

NOMAD = (*GOSSIP, *rules((What.NODE_EXPIRED, r"node TTL expired: node_id=(\S+)")))  # nomad/heartbeat.go, Nomad 1.11

AUTHORITY = Authority("nomad_ca", "tercet Nomad", "nomad", live=True)  # Nomad wants names that end in ".nomad"
GOSSIP_KEY = Password("nomad_gossip", live=True)
SEED = Password("nomad_tokens", live=True)
USER = "nomad"  # the servers; the clients start the tasks of jobs, and are root
JOB_USER = "nomad-job"
"""A user for jobs (`user = "nomad-job"`). Like all users but root, it can use the proxy, but no API."""
_JOB_UID = 6000  # the same on every node, so that a job's files keep their owner if the data moves
JOBS = range(20000, 32001)  # the ports that Nomad gives to jobs (client.min_dynamic_port, max_dynamic_port)


class NomadPorts(Model):
    nomad_http: Port = 4646
    nomad_rpc: Port = 4647
    nomad_serf: Port = 4648


class NomadVersion(Model):
    nomad: Version = "1.11.3"


class NomadSource(Model):
    nomad: Source = "auto"


DECLARATION = ComponentDeclaration(
    components=("component:Nomad", "retired:Retired"),
    secrets=(GOSSIP_KEY, SEED, AUTHORITY),
    additions=("rights:RIGHTS", "security:SECRETS", "tls:SECRETS", "retired:PREPARATION"),
    programs=("programs:NOMAD",),
    versions=NomadVersion,
    sources=NomadSource,
    ports=NomadPorts,
    gossip=("nomad_serf",),
    journals=(UnitJournal("nomad.service", "nomad", NOMAD),),
    processes=(Process("nomad", "nomad.service", (Role.CONTROL, Role.APPS)),),
    status=("status:CLUSTER",),
    accounts=(Account(USER, (Role.CONTROL,)), Account(JOB_USER, (Role.APPS,), _JOB_UID)),
    uses=(
        *(Use(port, USER) for port in ("nomad_rpc", "nomad_serf", "consul_http")),
        *(Use(port, CONSUL) for port in ("nomad_http", "nomad_rpc", "nomad_serf")),  # Nomad has Consul check it
    ),
    listens=(Role.CONTROL, Role.APPS),
    opens=(
        gossip("nomad_serf", (Role.CONTROL,)),
        Opening("nomad_rpc", to=(Role.CONTROL,), of=(Role.CONTROL, Role.APPS)),
        Opening(JOBS, to=(Role.APPS,), of=(Role.APPS,)),  # jobs that use each other
    ),
    reserved=(Reserved(Role.APPS, JOBS, "Nomad gives jobs their ports from 20000-32000"),),
)
