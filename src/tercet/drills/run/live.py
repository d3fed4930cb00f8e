"""The promises that only the running platform can answer, as conditions over readings. Pure.

Each is asked of the nodes that the fault spares, from the fault on until it holds or healing begins.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components import consul, endpoints, nomad
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.inventory.platform import Node, Platform, Role
from tercet.nodeside.endpoint import Endpoint

Questions = Mapping[str, Mapping[str, Request]]


@dataclass(frozen=True, slots=True)
class Scene:
    """The platform with the nodes that a drill's faults hit, and the drill's Nomad job."""

    platform: Platform
    victims: frozenset[str]
    job: str

    @property
    def controls(self) -> list[Node]:
        """Control nodes that the faults spare."""
        return [node for node in self.platform.of(Role.CONTROL) if node.name not in self.victims]

    @property
    def down(self) -> frozenset[str]:
        """Sites whose control node is hit."""
        return frozenset(n.site for n in self.platform.of(Role.CONTROL) if n.name in self.victims)

    def nomad(self, path: str, method: str = "GET", body: bytes = b"", timeout: float = 2.0) -> Http:
        return Http(endpoints.nomad(self.platform), f"/v1/{path}", method, body, timeout)


def _catalogue(agent: Endpoint, datacenter: str = "") -> Http:
    """The nodes of the agent's datacenter, or of another one that it forwards to."""
    return Http(agent, f"/v1/catalog/nodes{f'?dc={datacenter}' if datacenter else ''}")


def judge(name: str, scene: Scene) -> tuple[Condition, Questions] | None:
    """The condition of a promise and what must be asked for it; None if it is none of these."""
    match name:
        case "nomad keeps a leader":
            return _nomad_leads(scene)
        case "nomad server seen as failed":
            return _nomad_failed(scene)
        case "allocations run elsewhere":
            return _runs_elsewhere(scene)
        case "other catalogues answer":
            return _catalogues(scene)
        case "its own catalogue goes on":
            return _catalogue_goes_on(scene)
        case "its own catalogue is gone":
            return _catalogue_gone(scene)
        case "the catalogue names the new primary":
            return _names_primary(scene)
    return None


HOLDS_LOOKS = 6
"""Looks in a row, half a second each, at which what must go on is seen to go on."""


def _lasting(check: Callable[[Readings], State]) -> Callable[[Readings], State]:
    """Holds once `check` has held at HOLDS_LOOKS looks in a row: right after a fault all may still seem well."""
    held = 0

    def look(readings: Readings) -> State:
        nonlocal held
        state = check(readings)
        held = held + 1 if isinstance(state, Passing) else 0
        if isinstance(state, Passing) and held < HOLDS_LOOKS:
            return Waiting(f"{state.detail}, at {held} of {HOLDS_LOOKS} looks in a row")
        return state

    return look


def _ask(scene: Scene, question: str, request: Http) -> dict[str, dict[str, Request]]:
    return {node.name: {question: request} for node in scene.controls}


def _nomad_leads(scene: Scene) -> tuple[Condition, Questions]:
    asked = _ask(scene, "nomad.leader", scene.nomad("status/leader"))
    for node in scene.controls:
        asked[node.name]["nomad.servers"] = scene.nomad("agent/members")

    def check(readings: Readings) -> State:
        leaders = {node.name: nomad.leader_of(readings, [node.name]) for node in scene.controls}
        unled = [name for name, leader in leaders.items() if not leader]
        if unled or len(set(leaders.values())) != 1:
            return Waiting(f"{', '.join(unled)} know no leader" if unled else "the servers disagree on the leader")
        address = next(iter(leaders.values())).rpartition(":")[0]
        servers = nomad.servers_of(readings, scene.controls[0].name)
        name = next((server for server, (_, at) in servers.items() if at == address), address)
        if name in scene.victims:
            return Waiting(f"{name}, which is gone, is still named as leader")
        return Passing(f"{name} leads")

    return Condition("nomad keeps a leader", _lasting(check)), asked


def _nomad_failed(scene: Scene) -> tuple[Condition, Questions]:
    asked = _ask(scene, "nomad.servers", scene.nomad("agent/members"))
    lost = [scene.platform.at(site, Role.CONTROL).name for site in sorted(scene.down)]

    def check(readings: Readings) -> State:
        if not lost:
            return Waiting("the faults hit no Nomad server")
        for node in scene.controls:
            servers = nomad.servers_of(readings, node.name)
            for name in lost:
                status = servers.get(name, ("unknown", ""))[0]
                if status != "failed":
                    return Waiting(f"{node.name} sees {name} as {status}")
        return Passing(f"{', '.join(lost)} failed")

    return Condition("nomad server seen as failed", check), asked


def _runs_elsewhere(scene: Scene) -> tuple[Condition, Questions]:
    asked = _ask(scene, "allocations", scene.nomad(f"job/{scene.job}/allocations"))

    def check(readings: Readings) -> State:
        for node in scene.controls:
            running = running_on(readings, node.name)
            elsewhere = [name for name in running if name not in scene.victims]
            if elsewhere:
                return Passing(f"on {', '.join(elsewhere)}")
        return Waiting("the job that ran at the lost site runs nowhere else")

    return Condition("allocations run elsewhere", check), asked


def running_on(readings: Readings, control: str) -> list[str]:
    """The clients on which the drill's job runs, as that control node's server says."""
    allocations = readings.get(control, "allocations").json() or []
    return [a["NodeName"] for a in allocations if a["ClientStatus"] == "running" and a["DesiredStatus"] == "run"]


def _catalogues(scene: Scene) -> tuple[Condition, Questions]:
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

    return Condition("other catalogues answer", _lasting(check)), asked


def _silent(readings: Readings, nodes: Iterable[str], question: str) -> list[str]:
    """The nodes whose agent lists nothing."""
    return [node for node in nodes if not readings.get(node, question).json()]


def _catalogue_goes_on(scene: Scene) -> tuple[Condition, Questions]:
    """Asked inside the sites that are cut off: their Consul has its leader, and each node gets the catalogue of it."""
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

    return Condition("its own catalogue goes on", _lasting(check)), asked


def _catalogue_gone(scene: Scene) -> tuple[Condition, Questions]:
    """Asked of the lost server's own clients, and of the other servers, which forward the question.

    Each is asked for `dcs` too: only from a node that answers this can the other's silence be believed.
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

    return Condition("its own catalogue is gone", _lasting(check)), asked


def _names_primary(scene: Scene) -> tuple[Condition, Questions]:
    """As Consul's DNS and the templates ask for primary.SERVICE: who has the tag and passes its check."""
    settings = scene.platform.settings
    service = f"health/service/{settings.postgresql.service}?tag=primary&passing=true"
    asked = _ask(scene, "primary", Http(endpoints.dcs(scene.platform), f"/v1/{service}"))

    def check(readings: Readings) -> State:
        named: set[str] = set()
        for node in scene.controls:
            listed = readings.get(node.name, "primary").json()
            names = {str(one["Node"]["Node"]) for one in listed} if isinstance(listed, list) else set[str]()
            if len(names) != 1:
                return Waiting(f"{node.name}'s dcs names {', '.join(sorted(names)) or 'nobody'} as primary")
            named |= names
        if len(named) != 1 or named & scene.victims:
            return Waiting(f"dcs names {', '.join(sorted(named)) or 'nobody'} as primary")
        return Passing(f"{', '.join(named)} is primary.{settings.postgresql.service}")

    return Condition("the catalogue names the new primary", check), asked


def job_name() -> str:
    """A name of its own for each drill's job."""
    return f"tercet-drill-{secrets.token_hex(4)}"


def put_job(scene: Scene, site: str) -> Http:
    """Registers a job that begins at `site` and may run anywhere."""
    datacenter = scene.platform.site(site).datacenter
    task = {
        "Name": "sleep",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sleep", "args": ["3600"]},
        "Resources": {"CPU": 10, "MemoryMB": 16},
        "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
    }
    affinity = {"LTarget": "${node.datacenter}", "RTarget": datacenter, "Operand": "=", "Weight": 100}
    definition = {
        "ID": scene.job,
        "Name": scene.job,
        "Type": "service",
        "Datacenters": [one.datacenter for one in scene.platform.sites],
        "Affinities": [affinity],
        "TaskGroups": [{"Name": "drill", "Count": 1, "Tasks": [task], "EphemeralDisk": {"SizeMB": 10}}],
    }
    return scene.nomad("jobs", "PUT", json.dumps({"Job": definition}).encode(), timeout=10)


def purge_job(scene: Scene) -> Http:
    """Removes the job and everything that Nomad remembers of it."""
    return scene.nomad(f"job/{scene.job}?purge=true", "DELETE", timeout=5)


def job_runs_at(scene: Scene, site: str) -> tuple[Condition, Questions]:
    """The job's allocation runs at `site`, asked of every control node."""
    expected = scene.platform.at(site, Role.APPS).name
    asked: dict[str, dict[str, Request]] = {
        node.name: {"allocations": scene.nomad(f"job/{scene.job}/allocations")}
        for node in scene.platform.of(Role.CONTROL)
    }

    def check(readings: Readings) -> State:
        running = {name for node in scene.platform.of(Role.CONTROL) for name in running_on(readings, node.name)}
        return Passing() if expected in running else Waiting(f"it runs on {', '.join(sorted(running)) or 'no client'}")

    return Condition(f"nomad: the drill's job runs on {expected}", check), asked
