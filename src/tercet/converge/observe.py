"""Observes the nodes: one batched read of each, as values that the planner compares with the desired state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tercet.converge.component import Readings
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.node import observe_node, unique
from tercet.converge.requests import NO_ANSWER, Answer, Deferred, Request
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Unit
from tercet.converge.watch import watches


@dataclass(frozen=True, slots=True)
class PathFact:
    """What is at a path, without following links. `kind` is file, directory, link or special.

    `sha256` is set for files whose content was requested, `entries` for directories to be purged, and `target` and
    `leads` (whether its target exists) for links.
    """

    kind: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    sha256: str = ""
    target: str = ""
    leads: bool = False
    entries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitFact:
    """A unit as systemd reports it, and `stale`: the paths whose content on disk differs from what it runs with."""

    load: str = "loaded"
    active: str = "active"
    sub: str = "running"
    file: str = "enabled"
    daemon_reload: bool = False
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node. A requested path that is None does not exist."""

    paths: Mapping[str, PathFact | None] = field(default_factory=dict)
    units: Mapping[str, UnitFact] = field(default_factory=dict)
    answers: Mapping[Request, Answer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of the platform. A node that is in neither mapping does not run.

    `unreachable` maps a node to the reason: its server cannot be reached, or the node runs but did not answer.
    """

    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)

    def answer(self, node: str, request: Request) -> Answer:
        """The answer to a request; NO_ANSWER if it could not be asked."""
        facts = self.nodes.get(node)
        return facts.answers.get(request, NO_ANSWER) if facts else NO_ANSWER


async def ask(
    fleet: Fleet,
    questions: Mapping[str, Mapping[str, Request]],
    *,
    timeout: float,
    apart: float = 0.0,
    away: frozenset[str] = frozenset(),
) -> Readings:
    """Ask many nodes many questions: one run per node, which takes at most `timeout` seconds.

    A node that does not answer has no answers in the readings, only the reason for its silence. Nodes that are `away`
    are not asked. All nodes are asked at once, or, with `apart`, in their order, this many seconds after each other.
    """
    answered: dict[str, dict[str, Answer]] = {}
    silent: dict[str, str] = {}

    async def one(place: int, node: str) -> None:
        requests = unique(questions[node].values())
        # So that a machine with few cores finishes one node before it begins the next.
        await asyncio.sleep(place * apart)
        try:
            _, answers = await observe_node(fleet, node, requests, timeout=timeout)
        except Unreachable as error:
            silent[node] = str(error)
            return
        by_request = dict(zip(requests, answers, strict=True))
        answered[node] = {name: by_request[request] for name, request in questions[node].items()}

    async with asyncio.TaskGroup() as group:
        for place, node in enumerate(node for node in questions if node not in away):
            group.create_task(one(place, node))
    return Readings(answered, silent, away)


async def observe(
    fleet: Fleet,
    wanted: Mapping[str, Sequence[Resource]],
    running: frozenset[str],
    *,
    timeout: float,
    away: Mapping[str, str] | None = None,
) -> Observation:
    """Read everything that planning needs from the running nodes: one run per node, all at once.

    `wanted` has the resources of every node (see planner.desired). `timeout` is in seconds per node. `away` maps nodes
    that are known to be unreachable to the reason.
    """
    requests = _requests(wanted)
    nodes: dict[str, NodeFacts] = {}
    unreachable = dict(away or {})

    async def one(node: str) -> None:
        try:
            nodes[node] = await _read(fleet, node, wanted[node], unique(requests.get(node, ())), timeout)
        except Unreachable as error:
            unreachable[node] = str(error)

    async with asyncio.TaskGroup() as group:
        for node in (wanted.keys() & running) - unreachable.keys():
            group.create_task(one(node))
    return Observation(nodes, unreachable)


async def _read(
    fleet: Fleet, node: str, resources: Sequence[Resource], requests: Sequence[Request], timeout: float
) -> NodeFacts:
    watched = {unit: watch.paths for unit, watch in watches(resources).items()}
    said, answers = await observe_node(fleet, node, requests, paths=_paths(resources), units=watched, timeout=timeout)
    facts: dict[str, PathFact | None] = {}
    for path, found in said["paths"].items():
        facts[path] = PathFact(**{**found, "entries": tuple(found.get("entries", ()))}) if found else None
    units = {
        name: UnitFact(
            load=state["LoadState"],
            active=state["ActiveState"],
            sub=state["SubState"],
            file=state["UnitFileState"],
            daemon_reload=state["NeedDaemonReload"] == "yes",
            stale=tuple(state["stale"]),
        )
        for name, state in said["units"].items()
    }
    return NodeFacts(facts, units, dict(zip(requests, answers, strict=True)))


def _paths(resources: Iterable[Resource]) -> dict[str, str]:
    """The paths to read, and what to read of each."""
    paths: dict[str, str] = {}
    for resource in resources:
        match resource:
            case File(path=path):
                paths[path] = "content"
            case Directory(path=path, purge=purge):
                paths[path] = "entries" if purge else paths.get(path, "")
            case Absent(path=path):
                paths.setdefault(path, "")
            case Program():
                paths[resource.link] = ""
    return paths


def _requests(wanted: Mapping[str, Sequence[Resource]]) -> dict[str, list[Request]]:
    """The requests for each node: probes of objects, standings of rolling members, needs of deferred content."""
    asked: dict[str, list[Request]] = {}
    for node, resources in wanted.items():
        for resource in resources:
            match resource:
                case File(content=Deferred(needs=needs)):
                    for other, request in needs.items():
                        asked.setdefault(other, []).append(request)
                case Object(probe=probe, on=on):
                    for carrier in on or (node,):
                        asked.setdefault(carrier, []).append(probe)
            if isinstance(resource, Unit | Object) and resource.rolling:
                asked.setdefault(node, []).append(resource.rolling.question)
    return asked
