"""Consul in `status`: the datacenters of the sites, and `dcs`, which spans all sites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from tercet.components.consul import component as consul
from tercet.components.context import Context
from tercet.components.dcs import component as dcs
from tercet.components.status import CLUSTERS, StatusModel, Table
from tercet.converge.component import Readings
from tercet.inventory.platform import Role
from tercet.tables import Cell


class DatacenterStatus(StatusModel):
    leader: str | None
    voters: int | None = None


class ConsulKeys(StatusModel):
    consul: dict[str, DatacenterStatus]


def _read(context: Context, readings: Readings) -> ConsulKeys:
    found: dict[str, DatacenterStatus] = {}
    for site in context.platform.sites:
        control = context.platform.at(site.name, Role.CONTROL).name
        leads = consul.leader_of(readings, control)
        # There is one server per datacenter: if there is a leader, it is this one.
        found[site.datacenter] = DatacenterStatus(leader=control if leads else None)
    leader, voters = dcs.raft_of(readings, [node.name for node in context.platform.of(Role.CONTROL)])
    found[dcs.NAME] = DatacenterStatus(leader=leader or None, voters=voters)
    return ConsulKeys(consul=found)


def _rows(seen: ConsulKeys) -> Iterable[Sequence[Cell]]:
    for name, datacenter in seen.consul.items():
        voters = "" if datacenter.voters is None else f"{datacenter.voters} voters"
        yield f"consul {name}", datacenter.leader or Text("none", "red"), voters


DATACENTERS = Table(ConsulKeys, _read, CLUSTERS, _rows)
