"""Nomad in `status`: the leader, and the servers and clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from tercet.components.context import Context
from tercet.components.nomad import component as nomad
from tercet.components.status import CLUSTERS, StatusModel, Table
from tercet.converge.component import Readings
from tercet.inventory.platform import Role
from tercet.tables import Cell


class NomadStatus(StatusModel):
    leader: str | None
    servers: dict[str, str]
    clients: dict[str, str]


class NomadKeys(StatusModel):
    nomad: NomadStatus


def _read(context: Context, readings: Readings) -> NomadKeys:
    controls = [node.name for node in context.platform.of(Role.CONTROL)]
    servers: dict[str, tuple[str, str]] = {}
    for control in controls:
        servers = servers or nomad.servers_of(readings, control)
    address = nomad.leader_of(readings, controls).rpartition(":")[0]
    found = NomadStatus(
        leader=next((name for name, (_, member) in servers.items() if member == address), None),
        servers={name: status for name, (status, _) in servers.items()},
        clients=nomad.clients_of(readings, controls),
    )
    return NomadKeys(nomad=found)


def _rows(seen: NomadKeys) -> Iterable[Sequence[Cell]]:
    alive = sum(1 for status in seen.nomad.servers.values() if status == "alive")
    ready = sum(1 for status in seen.nomad.clients.values() if status == "ready")
    yield "nomad", seen.nomad.leader or Text("none", "red"), f"{alive} servers, {ready} clients"


CLUSTER = Table(NomadKeys, _read, CLUSTERS, _rows)
