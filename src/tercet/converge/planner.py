"""Compares the desired state with the observation and makes the plan. Pure: the same input always gives the same plan.

Invariants: a step comes after all steps of the components before its own; a change of a path that a unit watches
restarts or reloads the unit in the same plan; nothing is changed without a line and a reason; changes that must wait
for nodes that cannot be reached are listed, too (hold.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tercet.converge.compare import RUNNING, Seen, compare
from tercet.converge.component import Component
from tercet.converge.hold import Holds, disturbed
from tercet.converge.observe import Observation
from tercet.converge.order import ancestors, in_order
from tercet.converge.plan import Change, Held, Plan, Step
from tercet.converge.requests import NO_ANSWER
from tercet.converge.resources import Object, Resource, Turn, Unit
from tercet.converge.target import Kind, Target, Verb
from tercet.converge.watch import covers, path_of, watches
from tercet.inventory.platform import Node


def desired(components: Iterable[Component], nodes: Iterable[Node]) -> dict[str, list[Resource]]:
    """All resources of each node, for `observe`."""
    components = list(components)
    return {node.name: [r for component in components for r in component.desired(node)] for node in nodes}


def plan(
    components: Sequence[Component],
    nodes: Sequence[Node],
    observation: Observation,
    infrastructure: Sequence[Change],
) -> Plan:
    """The plan that brings the platform to its desired state.

    `infrastructure` has the changes of the provider. They come first, except restarts of nodes that serve, which come
    last. A node that it creates counts as empty, and one that is only stopped as unknown. Raises ValueError if
    components contradict each other, which is a bug of a component.
    """
    components = in_order(components)
    wanted = {component.name: _wanted(component, nodes, observation) for component in components}
    _check_follows(components, wanted)
    created = {
        change.target.name
        for change in infrastructure
        if change.verb is Verb.CREATE and change.target.kind is Kind.CONTAINER
    }
    changed: set[str] = set()
    seen: dict[str, Seen] = {}
    for node in nodes:
        resources = _consistent(node.name, {name: of[node.name] for name, of in wanted.items()}, components)
        facts = observation.nodes.get(node.name)
        seen[node.name] = Seen(observation, facts, node.name in created, resources, watches(resources), changed)
    holds = Holds(components, nodes, wanted.values(), observation)
    steps: list[Step] = []
    waiting: list[Held] = []
    for component in components:
        in_turn = []
        for node in nodes:
            if node.name in observation.unreachable:
                continue
            needed = _changes(wanted[component.name][node.name], seen[node.name])
            changes, held = holds.judge(component.name, node.name, needed)
            waiting += (replace(each, unknown=seen[node.name].stopped) for each in held)
            if changes:
                in_turn.append(_step(component.name, node.name, changes, seen[node.name]))
        in_turn.sort(key=lambda pair: pair[0])
        steps += (step for _, step in in_turn)
        changed |= {c.resource.name for _, step in in_turn for c in step.changes if isinstance(c.resource, Object)}
    now: list[Change] = []
    for change in infrastructure:
        node_seen = seen.get(change.restarts)
        if node_seen and (late := holds.restart(change, node_seen.resources)):
            waiting.append(late)
        else:
            now.append(change)
    restarts = _restarts(now, seen)
    at_once = tuple(change for change in now if change not in restarts)
    unreachable = tuple(sorted(observation.unreachable.items()))
    return Plan(at_once, tuple(steps), unreachable, restarts, tuple(waiting))


def _restarts(infrastructure: Sequence[Change], seen: Mapping[str, Seen]) -> tuple[Change, ...]:
    """The restarts of nodes that serve, in the order of the last turn of any unit of the node, so the primary's is
    late.

    A node does not serve if it is silent or if a unit of a rolling group is down on it. Such a node is repaired with
    the rest of the infrastructure, before the healthy nodes and without waiting for them.
    """
    in_turn = []
    for change in infrastructure:
        node = seen.get(change.restarts)
        if node is None or (facts := node.facts) is None:
            continue
        members = [r for r in node.resources if isinstance(r, Unit) and r.active and r.rolling]
        if all(facts.units[unit.name].active in RUNNING for unit in members):
            rollings = [unit.rolling for unit in members if unit.rolling]
            turns = [rolling.turn(facts.answers.get(rolling.question, NO_ANSWER)) for rolling in rollings]
            in_turn.append((max(turns, default=Turn.NOBODY), change))
    return tuple(change for _, change in sorted(in_turn, key=lambda pair: pair[0]))


def _wanted(component: Component, nodes: Sequence[Node], observation: Observation) -> dict[str, list[Resource]]:
    """The component's resources on each node. An object with `on` is assigned to the one node that changes it."""
    wanted: dict[str, list[Resource]] = {node.name: [] for node in nodes}
    for node in nodes:
        for resource in component.desired(node):
            place = node.name
            if isinstance(resource, Object) and resource.on:
                place = _carrier(resource, observation)
            if resource not in wanted[place]:
                wanted[place].append(resource)
    return wanted


def _carrier(wanted: Object, observation: Observation) -> str:
    """The holder; or else the first node whose program answers the probe, the first node that answered at all, the
    first node that will be started, or a node that is left out as unreachable, in this order.
    """
    candidates = wanted.on
    if holder := wanted.holder({name: observation.answer(name, wanted.probe) for name in candidates}):
        return holder
    answered = [name for name in candidates if name in observation.nodes]
    dark = [name for name in candidates if name not in observation.unreachable]
    knowing = [name for name in answered if observation.answer(name, wanted.probe).ok]
    return (*knowing, *answered, *dark, candidates[0])[0]


def _consistent(node: str, wanted: Mapping[str, Sequence[Resource]], components: Sequence[Component]) -> list[Resource]:
    """All resources of a node, after checking that they do not contradict each other.

    Two components may want the same resource, but not two versions of it. A path that a unit watches must come before
    the unit; otherwise a restart would come too early or never.
    """
    owners: dict[str | Target, tuple[str, Resource]] = {}
    provided: list[tuple[str, str]] = []  # (component, path) in the order in which they are made
    before = ancestors(components)
    for component in components:
        own = watches(wanted[component.name])
        for resource in wanted[component.name]:
            path = path_of(resource)
            key = path or resource.target
            first, other = owners.setdefault(key, (component.name, resource))
            if other != resource:
                raise ValueError(f"{node}: {first} and {component.name} want {key} in two different ways")
            if path:
                provided.append((component.name, path))
            if not isinstance(resource, Unit):
                continue
            earlier = before[component.name] | {component.name}
            for watched in own[resource.name].paths:
                if not any(name in earlier and covers(watched, path) for name, path in provided):
                    raise ValueError(
                        f"{node}: {resource.name} of {component.name} watches {watched}, "
                        f"which nothing before it manages"
                    )
    return [resource for _, resource in owners.values()]


def _check_follows(components: Sequence[Component], wanted: Mapping[str, Mapping[str, Sequence[Resource]]]) -> None:
    """What an object follows must be in a component before its own, else its change would never be planned."""
    names = {
        name: {each.name if isinstance(each, Object) else path_of(each) for of in nodes.values() for each in of}
        for name, nodes in wanted.items()
    }
    before = ancestors(components)
    for component in components:
        there = {name for earlier in before[component.name] for name in names[earlier]}
        for wanted_object in (
            each for of in wanted[component.name].values() for each in of if isinstance(each, Object)
        ):
            for name in wanted_object.follows:
                if name not in there:
                    raise ValueError(
                        f"{wanted_object.name} of {component.name} follows {name}, which nothing before it manages"
                    )


def _changes(resources: Sequence[Resource], seen: Seen) -> list[Change]:
    """A component's changes on one node, in the order in which they are made.

    Units that must not run come first, because they may hold a port. Consecutive units are all enabled before the first
    one is started, so that systemd reads its files only once and the units start in parallel.
    """
    unwanted = [r for r in resources if isinstance(r, Unit) and not r.active]
    others = [r for r in resources if r not in unwanted]
    changes = [change for unit in unwanted for change in compare(unit, seen)]
    for units, together in itertools.groupby(others, key=lambda resource: isinstance(resource, Unit)):
        found = [change for resource in together for change in compare(resource, seen)]
        if units:
            found.sort(key=lambda change: change.verb is not Verb.ENABLE)
        changes += found
    return changes


def _step(component: str, node: str, changes: Sequence[Change], seen: Seen) -> tuple[Turn, Step]:
    """The step with its turn among the steps of its component."""
    found = [pair for change in changes if (pair := disturbed(change, node, seen.observation))]
    if not found:
        return Turn.NOBODY, Step(component, node, tuple(changes), unknown=seen.stopped)
    turn, rolling = max(found, key=lambda pair: pair[0])
    return turn, Step(component, node, tuple(changes), rolling)
