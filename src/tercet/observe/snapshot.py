"""One look at the platform as a value: `status --json` is this model, the table and the live view show it.

The schema is published (docs/status.schema.json). A value that is not known is null or an empty string, never
a guess: a silent node is shown as not healthy with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from ipaddress import IPv4Network

from pydantic import BaseModel, ConfigDict

from tercet.components.consul import component as consul
from tercet.components.dcs import component as dcs
from tercet.components.nomad import component as nomad
from tercet.components.patroni import aside
from tercet.components.patroni import component as patroni
from tercet.components.patroni.sentinel import read_only
from tercet.components.proxy.component import routes_of
from tercet.components.proxy.flavour import preference
from tercet.components.tailscale import component as tailscale
from tercet.converge.component import Component, Condition, Deviating, Passing, Readings
from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Active, Request
from tercet.converge.resources import Unit
from tercet.inventory.platform import Node, Platform, Role

LOOK_TIMEOUT_S = 10.0
APART_S = 0.02  # what Python's start takes of a core: with ten at once, as in the lab, the first is ready with the last
UNDECIDED = "undecided: `tercet up` takes PgCat if it can be had, else pgpool-II"


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class NodeStatus(Model):
    """`components` maps a component to "active" or to the state of its first unit that is not. `reason`: why the
    node is silent; empty where it answers."""

    name: str
    role: str
    address: str
    healthy: bool
    components: dict[str, str]
    reason: str = ""


class SiteStatus(Model):
    name: str
    datacenter: str
    nodes: list[NodeStatus]


class MemberStatus(Model):
    """One PostgreSQL. `lag_bytes` is null for the primary and where it is unknown; `sync`: counted for commits."""

    node: str
    role: str
    state: str
    lag_bytes: int | None
    sync: bool


class AsideStatus(Model):
    """Database files that could not be rewound and were moved aside on their node, at `moved`, because of `reason`.
    They are removed at `until`, or before if their disk becomes full; `warning`: why that is soon. Times: ISO 8601."""

    node: str
    name: str
    path: str
    bytes: int
    moved: str
    until: str
    reason: str
    warning: str


class PostgresStatus(Model):
    primary: str | None
    members: list[MemberStatus]
    writable: bool


class DatacenterStatus(Model):
    leader: str | None
    voters: int | None = None


class NomadStatus(Model):
    leader: str | None
    servers: dict[str, str]
    clients: dict[str, str]


class RouteStatus(Model):
    """The database nodes that answer: `transaction` what a transaction reads before its first write."""

    site: str
    read: str | None
    write: str | None
    transaction: str | None = None
    proxy: str


class ConditionStatus(Model):
    """`declared`: it does not hold, what runs here is known to be unable to keep it, and the platform is healthy all
    the same."""

    title: str
    passing: bool
    detail: str
    declared: bool = False


class LostSiteStatus(Model):
    """A site that the inventory calls lost. Nothing is known of its nodes, as they are not asked."""

    name: str
    datacenter: str
    nodes: list[str]
    remedy: str


class Snapshot(Model):
    """`proxy_reason`: why the proxy is what it is; it comes from tercet's own record, not from the nodes."""

    platform: str
    healthy: bool
    sites: list[SiteStatus]
    postgres: PostgresStatus
    consul: dict[str, DatacenterStatus]
    nomad: NomadStatus
    routes: list[RouteStatus]
    conditions: list[ConditionStatus]
    proxy_reason: str = ""
    aside: list[AsideStatus] = []
    lost_sites: list[LostSiteStatus] = []


Units = Mapping[str, Mapping[str, Sequence[str]]]
"""By node and component: the units that must be active."""


def units_of(components: Sequence[Component], nodes: Sequence[Node]) -> Units:
    """What must be active where. All configuration is made to say so, 0.01 s of each look: once is enough."""
    return {
        node.name: {
            component.name: units
            for component in components
            if (units := [r.name for r in component.desired(node) if isinstance(r, Unit) and r.active])
        }
        for node in nodes
    }


def conditions_of(components: Sequence[Component]) -> list[Condition]:
    """Every condition once: components that share a gate state it each."""
    by_title = {condition.title: condition for component in components for condition in component.healthy()}
    return list(by_title.values())


def questions(
    components: Sequence[Component], nodes: Sequence[Node], units: Units | None = None
) -> dict[str, Mapping[str, Request]]:
    """All questions of the components, one batch a node; and by its name the state of each of `units`."""
    asked: dict[str, Mapping[str, Request]] = {}
    for node in nodes:
        batch: dict[str, Request] = {}
        for component in components:
            batch |= component.questions(node)
        for names in (units or {}).get(node.name, {}).values():
            batch |= {name: Active(name) for name in names}
        asked[node.name] = batch
    return asked


def state_of(readings: Readings, node: str, unit: str) -> str:
    """The unit's state in systemd's word; "unknown" where the node does not say."""
    return readings.get(node, unit).text or "unknown"


async def take_snapshot(
    platform: Platform, components: Sequence[Component], fleet: Fleet, *, proxy_reason: str | None = ""
) -> Snapshot:
    """Ask every node once and put the answers together. A silent node costs no more than LOOK_TIMEOUT_S.

    `proxy_reason` is the session's: None where the proxy is undecided.
    """
    nodes = _longest_first(platform)
    units = units_of(components, nodes)
    readings = await ask(fleet, questions(components, nodes, units), timeout=LOOK_TIMEOUT_S, apart=APART_S)
    return snapshot(platform, components, units, readings, proxy_reason=proxy_reason)


def _longest_first(platform: Platform) -> list[Node]:
    """All containers, first those whose answers take longest: apps nodes, since a new session through the proxy is six
    round trips to the primary; and of these the farthest from where the primary began."""
    near = [platform.node(database).site for database in preference(platform, platform.initial_primary.site)]
    far = [platform.at(site, Role.APPS) for site in reversed(near)]
    return [*far, *(node for node in platform.containers if node not in far)]


def snapshot(
    platform: Platform,
    components: Sequence[Component],
    units: Units,
    readings: Readings,
    *,
    proxy_reason: str | None = "",
    now: datetime | None = None,
) -> Snapshot:
    """Pure but for `now`, which is the present unless given: the same readings give the same snapshot."""
    conditions = [_judged(condition, readings) for condition in conditions_of(components)]
    sites = [
        SiteStatus(
            name=site.name,
            datacenter=site.datacenter,
            nodes=[
                _node(node, units[node.name], readings, platform.settings.tailnet.cidr)
                for node in platform.nodes
                if node.site == site.name
            ],
        )
        for site in platform.sites
    ]
    return Snapshot(
        platform=platform.name,
        healthy=all(condition.passing or condition.declared for condition in conditions)
        and all(node.healthy for site in sites for node in site.nodes),
        sites=sites,
        postgres=_postgres(platform, readings),
        consul=_consul(platform, readings),
        nomad=_nomad(platform, readings),
        routes=_routes(platform, components, readings, decided=proxy_reason is not None),
        conditions=conditions,
        proxy_reason=UNDECIDED if proxy_reason is None else proxy_reason,
        aside=moved_aside(platform, readings, now or datetime.now(UTC)),
        lost_sites=lost_sites(platform),
    )


def lost_sites(platform: Platform) -> list[LostSiteStatus]:
    """The sites that are lost, with what can be done."""
    return [
        LostSiteStatus(
            name=site.name,
            datacenter=site.datacenter,
            nodes=[node.name for node in platform.lost_nodes if node.site == site.name],
            remedy=f"left alone; `tercet recover rejoin {site.name}` takes it back once its server works again",
        )
        for site in platform.lost_sites
    ]


def _judged(condition: Condition, readings: Readings) -> ConditionStatus:
    state = condition.check(readings)
    detail = state.detail if isinstance(state, Passing) else state.reason
    passing, declared = isinstance(state, Passing), isinstance(state, Deviating)
    return ConditionStatus(title=condition.title, passing=passing, detail=detail, declared=declared)


def _node(node: Node, units: Mapping[str, Sequence[str]], readings: Readings, cidr: IPv4Network) -> NodeStatus:
    if not readings.reachable(node.name):
        states = dict.fromkeys(units, "no answer")
    else:
        states = {
            component: next((s for unit in many if (s := state_of(readings, node.name, unit)) != "active"), "active")
            for component, many in units.items()
        }
    return NodeStatus(
        name=node.name,
        role=node.role.value,
        address=tailscale.address_of(readings.get(node.name, "tailscale"), cidr),
        healthy=all(state == "active" for state in states.values()),
        components=states,
        reason=readings.silence(node.name).removeprefix(f"{node.name}: "),
    )


def _postgres(platform: Platform, readings: Readings) -> PostgresStatus:
    databases = [node.name for node in platform.of(Role.DB)]
    members = [
        MemberStatus(
            node=str(member["name"]),
            role="primary" if member.get("role") == "leader" else "standby",
            state=str(member.get("state")),
            lag_bytes=member["lag"] if isinstance(member.get("lag"), int) else None,
            sync="sync" in str(member.get("role")) or "quorum" in str(member.get("role")),
        )
        for member in patroni.members_of(readings, databases)
    ]
    primary = patroni.primary_of(readings, databases) or None
    writable = primary is not None and not read_only(readings, primary)
    return PostgresStatus(primary=primary, members=members, writable=writable)


def moved_aside(platform: Platform, readings: Readings, now: datetime) -> list[AsideStatus]:
    """The database files that were moved aside, on every database node that answered."""
    keep = platform.settings.aside
    return [
        AsideStatus(**asdict(each))
        for node in platform.of(Role.DB)
        for each in aside.kept(node.name, readings.get(node.name, "aside"), keep, now)
    ]


def _consul(platform: Platform, readings: Readings) -> dict[str, DatacenterStatus]:
    found: dict[str, DatacenterStatus] = {}
    for site in platform.sites:
        control = platform.at(site.name, Role.CONTROL).name
        leads = consul.leader_of(readings, control)
        # One server a datacenter: if there is a leader, it is this one.
        found[site.datacenter] = DatacenterStatus(leader=control if leads else None)
    leader, voters = dcs.raft_of(readings, [node.name for node in platform.of(Role.CONTROL)])
    found[dcs.NAME] = DatacenterStatus(leader=leader or None, voters=voters)
    return found


def _nomad(platform: Platform, readings: Readings) -> NomadStatus:
    controls = [node.name for node in platform.of(Role.CONTROL)]
    servers: dict[str, tuple[str, str]] = {}
    for control in controls:
        servers = servers or nomad.servers_of(readings, control)
    address = nomad.leader_of(readings, controls).rpartition(":")[0]
    leader = next((name for name, (_, member) in servers.items() if member == address), None)
    return NomadStatus(
        leader=leader,
        servers={name: status for name, (status, _) in servers.items()},
        clients=nomad.clients_of(readings, controls),
    )


def _routes(
    platform: Platform, components: Sequence[Component], readings: Readings, *, decided: bool
) -> list[RouteStatus]:
    kind = next((getattr(c, "kind", "") for c in components if c.name == "proxy"), "") if decided else ""
    routes = []
    for node in platform.of(Role.APPS):
        to = routes_of(readings.get(node.name, "routes"))
        answer = {"read": to.read or None, "write": to.write or None, "transaction": to.transaction or None}
        routes.append(RouteStatus(site=node.site, proxy=kind, **answer))
    return routes
