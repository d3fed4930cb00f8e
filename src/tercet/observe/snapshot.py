"""The state of the platform at one moment, as a value. `status --json` prints this model, and the tables show it.

The schema is published (docs/status.schema.json). An unknown value is null or an empty string, never a guess. A silent
node is shown as not healthy, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Network
from typing import Any, TypeVar

from pydantic import Field, create_model

from tercet.components.context import Context
from tercet.components.proxy.flavour import preference
from tercet.components.registry import notes, tables
from tercet.components.status import StatusModel
from tercet.components.tailscale import component as tailscale
from tercet.converge.component import Component, Condition, Deviating, Passing, Readings
from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Active, Request
from tercet.converge.resources import Unit
from tercet.inventory.platform import Node, Platform, Role

K = TypeVar("K", bound=StatusModel)

LOOK_TIMEOUT_S = 10.0
# The time that a core needs to start Python. If ten start at once, the first is ready only when the last is.
APART_S = 0.02
UNDECIDED = "undecided: `tercet up` chooses PgCat if it is available, otherwise pgpool-II"


class NodeStatus(StatusModel):
    """`components` maps a component to "active" or to the state of its first unit that is not active. `reason`: why the
    node is silent; empty if it answers.
    """

    name: str
    role: str
    address: str
    healthy: bool
    components: dict[str, str]
    reason: str = ""


class SiteStatus(StatusModel):
    name: str
    datacenter: str
    nodes: list[NodeStatus]


class ConditionStatus(StatusModel):
    """`declared`: it does not hold, but this is a known deviation, so the platform is still healthy."""

    title: str
    passing: bool
    detail: str
    declared: bool = False


class LostSiteStatus(StatusModel):
    """A site that the inventory declares lost. Its nodes are not asked, so nothing is known about them."""

    name: str
    datacenter: str
    nodes: list[str]
    remedy: str


class Overview(StatusModel):
    """The beginning of a snapshot. The components' tables follow."""

    platform: str
    healthy: bool
    sites: list[SiteStatus]


class Judgement(StatusModel):
    """The part after the tables and before the components' notes."""

    conditions: list[ConditionStatus]
    proxy_reason: str = ""


class Losses(StatusModel):
    """The end of a snapshot."""

    lost_sites: list[LostSiteStatus] = Field(default=[])


class Snapshot(Losses, Judgement, Overview):
    """`proxy_reason`: why the proxy is what it is; it comes from tercet's own record, not from the nodes."""

    def of(self, keys: type[K]) -> K:
        """The keys that a component declares."""
        if not isinstance(self, keys):
            raise TypeError(f"{keys.__name__} is of no component in inventory/components.py")
        return self


def snapshot_model() -> type[Snapshot]:
    """The whole snapshot, with the additions of each component."""
    return _with_keys_of(tuple(table.keys for table in tables()), tuple(note.keys for note in notes()))


@cache
def _with_keys_of(above: tuple[type[StatusModel], ...], below: tuple[type[StatusModel], ...]) -> type[Snapshot]:
    # pydantic takes the fields of the last base first. That is the order of the keys in `--json`.
    bases: Any = (Snapshot, Losses, *reversed(below), Judgement, *reversed(above), Overview)
    whole: type[Snapshot] = create_model("Snapshot", __base__=bases, __doc__=Snapshot.__doc__)
    return whole


Units = Mapping[str, Mapping[str, Sequence[str]]]
"""The units that must be active, by node and component."""


def units_of(components: Sequence[Component], nodes: Sequence[Node]) -> Units:
    """The units that must be active, by node. Computed once: this renders all configuration, which takes 0.01 s."""
    return {
        node.name: {
            component.name: units
            for component in components
            if (units := [r.name for r in component.desired(node) if isinstance(r, Unit) and r.active])
        }
        for node in nodes
    }


def conditions_of(components: Sequence[Component]) -> list[Condition]:
    """Every condition once, because several components may have the same one."""
    by_title = {condition.title: condition for component in components for condition in component.healthy()}
    return list(by_title.values())


def questions(
    components: Sequence[Component], nodes: Sequence[Node], units: Units | None = None
) -> dict[str, Mapping[str, Request]]:
    """All questions of the components, one batch per node, and the state of each of `units` by its name.

    Components may ask the same question. Raises ValueError if they ask different questions under the same name.
    """
    asked: dict[str, Mapping[str, Request]] = {}
    for node in nodes:
        batch: dict[str, Request] = {}
        for component in components:
            own = component.questions(node)
            if twice := [name for name, asks in own.items() if batch.get(name, asks) != asks]:
                raise ValueError(f"{component.name} asks {node.name} something else by the name {twice[0]!r}")
            batch |= own
        for names in (units or {}).get(node.name, {}).values():
            batch |= {name: Active(name) for name in names}
        asked[node.name] = batch
    return asked


def state_of(readings: Readings, node: str, unit: str) -> str:
    """The unit's state as systemd reports it; "unknown" if the node does not answer."""
    return readings.get(node, unit).text or "unknown"


async def take_snapshot(context: Context, components: Sequence[Component], fleet: Fleet) -> Snapshot:
    """Ask every node once and combine the answers. A silent node costs at most LOOK_TIMEOUT_S."""
    nodes = _longest_first(context.platform)
    units = units_of(components, nodes)
    readings = await ask(fleet, questions(components, nodes, units), timeout=LOOK_TIMEOUT_S, apart=APART_S)
    return snapshot(context, components, units, readings)


def _longest_first(platform: Platform) -> list[Node]:
    """All containers, first those whose answers take longest: apps nodes, because a new session through the proxy takes
    six round trips to the primary, and of these the ones farthest from the first primary.
    """
    near = [platform.node(database).site for database in preference(platform, platform.initial_primary.site)]
    far = [platform.at(site, Role.APPS) for site in reversed(near)]
    return [*far, *(node for node in platform.containers if node not in far)]


def snapshot(
    context: Context,
    components: Sequence[Component],
    units: Units,
    readings: Readings,
    now: datetime | None = None,
) -> Snapshot:
    """Pure, except that `now` defaults to the present time: the same readings give the same snapshot."""
    platform, now = context.platform, now or datetime.now(UTC)
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
    declared = [table.read(context, readings) for table in tables()]
    declared += [note.read(context, readings, now) for note in notes()]
    return snapshot_model()(
        platform=platform.name,
        healthy=all(condition.passing or condition.declared for condition in conditions)
        and all(node.healthy for site in sites for node in site.nodes),
        sites=sites,
        conditions=conditions,
        proxy_reason=UNDECIDED if context.proxy_reason is None else context.proxy_reason,
        lost_sites=lost_sites(platform),
        **{key: value for keys in declared for key, value in keys},
    )


def lost_sites(platform: Platform) -> list[LostSiteStatus]:
    """The lost sites, with the remedy for each."""
    return [
        LostSiteStatus(
            name=site.name,
            datacenter=site.datacenter,
            nodes=[node.name for node in platform.lost_nodes if node.site == site.name],
            remedy=f"left alone; `tercet recover rejoin {site.name}` takes it back when its server works again",
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
