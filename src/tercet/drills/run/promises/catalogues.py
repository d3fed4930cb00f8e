"""What must hold for Consul's catalogues while the fault lasts."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components import endpoints
from tercet.components.consul import component as consul
from tercet.converge.component import Passing, Readings, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.drills.run.live import Look, Scene, ask, lasting, observed
from tercet.inventory.platform import Role
from tercet.nodeside.endpoint import Endpoint


def _catalogue(agent: Endpoint, datacenter: str = "") -> Http:
    """The nodes of the agent's datacenter, or of another one that it forwards to."""
    return Http(agent, f"/v1/catalog/nodes{f'?dc={datacenter}' if datacenter else ''}")


@observed("other catalogues answer")
def _catalogues(scene: Scene) -> Look:
    own, dcs = endpoints.consul(scene.platform), endpoints.dcs(scene.platform)
    asked: dict[str, dict[str, Request]] = {
        node.name: {"catalogue": _catalogue(own), "dcs": _catalogue(dcs)} for node in scene.controls
    }

    def check(readings: Readings) -> State:
        silent = {what: _silent(readings, list(asked), what) for what in ("catalogue", "dcs")}
        if not asked:
            return Waiting("the faults spare no Consul server")
        if silent["catalogue"]:
            return Waiting(f"{', '.join(silent['catalogue'])} lists no nodes")
        if silent["dcs"]:
            return Waiting(f"{', '.join(silent['dcs'])} lists no nodes of dcs")
        return Passing(f"{len(asked)} of them, and dcs")

    return lasting(check), asked


@observed("its own catalogue goes on")
def _catalogue_goes_on(scene: Scene) -> Look:
    """Asked inside the sites that are cut off: their Consul has a leader, and each node gets its catalogue."""
    platform, own = scene.platform, endpoints.consul(scene.platform)
    nodes = [node for node in platform.nodes if node.site in scene.down]
    asked: dict[str, dict[str, Request]] = {node.name: {"catalogue": _catalogue(own)} for node in nodes}
    controls = [node.name for node in nodes if node.role is Role.CONTROL]
    for name in controls:
        asked[name]["consul.leader"] = Http(own, "/v1/status/leader")

    def check(readings: Readings) -> State:
        silent = _silent(readings, asked, "catalogue")
        unled = [name for name in controls if not consul.leader_of(readings, name)]
        if not asked:
            return Waiting("the faults hit no Consul server")
        if unled:
            return Waiting(f"{', '.join(unled)} has no leader")
        if silent:
            return Waiting(f"{', '.join(silent)} lists no nodes")
        led = ", ".join(platform.site(site).datacenter for site in sorted(scene.down))
        return Passing(f"{led}, at each of {len(asked)} nodes")

    return lasting(check), asked


@observed("its own catalogue is gone")
def _catalogue_gone(scene: Scene) -> Look:
    """Asks the lost server's own clients, and the other servers, which forward the question.

    Each is also asked for `dcs`: only if a node answers this, its missing answer about the other datacenter counts.
    """
    platform = scene.platform
    own, dcs = endpoints.consul(platform), endpoints.dcs(platform)
    asked: dict[str, dict[str, Request]] = {}
    for site in sorted(scene.down):
        datacenter = platform.site(site).datacenter
        for node in platform.nodes:
            if node.name not in scene.victims and (node.site == site or node.role is Role.CONTROL):
                batch = asked.setdefault(node.name, {"dcs": _catalogue(dcs)})
                batch[datacenter] = _catalogue(own, "" if node.site == site else datacenter)

    def check(readings: Readings) -> State:
        unheard = _silent(readings, asked, "dcs")
        answered = [
            f"{node} still lists the nodes of {name}"
            for node, batch in asked.items()
            for name in batch
            if name != "dcs" and readings.get(node, name).ok
        ]
        if not asked:
            return Waiting("the faults hit no Consul server, or spare no node")
        if answered:
            return Waiting("; ".join(answered))
        if unheard:
            return Waiting(f"{', '.join(unheard)} lists no nodes of dcs either")
        lost = ", ".join(platform.site(site).datacenter for site in sorted(scene.down))
        return Passing(f"{lost}, at each of {len(asked)} nodes")

    return lasting(check), asked


@observed("the catalogue names the new primary")
def _names_primary(scene: Scene) -> Look:
    """Asks for primary.SERVICE like Consul's DNS and the templates: the nodes that have the tag and pass the check."""
    settings = scene.platform.settings
    service = f"health/service/{settings.postgresql.service}?tag=primary&passing=true"
    asked = ask(scene, "primary", Http(endpoints.dcs(scene.platform), f"/v1/{service}"))

    def check(readings: Readings) -> State:
        named: set[str] = set()
        for node in scene.controls:
            listed = readings.get(node.name, "primary").json()
            names = {str(one["Node"]["Node"]) for one in listed} if isinstance(listed, list) else set[str]()
            if len(names) != 1:
                return Waiting(f"{node.name}'s dcs names {', '.join(sorted(names)) or 'no node'} as primary")
            named |= names
        if len(named) != 1 or named & scene.victims:
            return Waiting(f"dcs names {', '.join(sorted(named)) or 'no node'} as primary")
        return Passing(f"{', '.join(named)} is primary.{settings.postgresql.service}")

    return check, asked


def _silent(readings: Readings, nodes: Iterable[str], question: str) -> list[str]:
    """The nodes whose agent lists nothing."""
    return [node for node in nodes if not readings.get(node, question).json()]
