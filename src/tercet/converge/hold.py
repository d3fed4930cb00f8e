"""Decides which changes must wait while nodes cannot be reached, for which nodes, and why. Pure.

Invariants
- No running member of a rolling group is disturbed while another member is away, unless the members work alone.
- A restart waits together with its whole step, including files. So if a program crashes in the meantime, it starts
  again with its old configuration, not with one that was never tried.
- Components after a unit that waits for its restart wait, too, because they may need the result of that restart. An
  object or a file that waits does not hold up other components.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tercet.converge.compare import render
from tercet.converge.component import Component
from tercet.converge.observe import Observation
from tercet.converge.order import ancestors
from tercet.converge.plan import Change, Held
from tercet.converge.requests import Deferred
from tercet.converge.resources import File, Object, Resource, Rolling, Turn, Unit
from tercet.converge.target import Verb
from tercet.inventory.platform import Node

_Obstacle = tuple[tuple[str, ...], str]  # the sites or nodes that a change waits for, and the reason


def disturbed(change: Change, node: str, observation: Observation) -> tuple[Turn, Rolling] | None:
    """The rolling group and the turn of the running member that the change disturbs; None if it disturbs none."""
    match change.resource:
        case Unit(rolling=Rolling() as rolling) if change.verb in (Verb.RESTART, Verb.STOP):
            pass
        case Object(rolling=Rolling() as rolling):
            pass
        case _:
            return None
    if node not in observation.nodes:
        return None
    turn = rolling.turn(observation.answer(node, rolling.question))
    return (turn, rolling) if turn is not Turn.NOBODY else None


class Holds:
    """Judges the steps of one plan, in the plan's order of components."""

    def __init__(
        self,
        components: Sequence[Component],
        nodes: Sequence[Node],
        wanted: Iterable[Mapping[str, Sequence[Resource]]],
        observation: Observation,
    ) -> None:
        self._nodes = nodes
        self._observation = observation
        self._before = ancestors(components)
        # Components with a unit that waits, and the sites or nodes that it waits for.
        self._held: dict[str, tuple[str, ...]] = {}
        self._groups: defaultdict[str, set[str]] = defaultdict(set)
        for by_node in wanted:
            for node, resources in by_node.items():
                for resource in resources:
                    if isinstance(resource, Unit | Object) and resource.rolling:
                        self._groups[resource.rolling.group].add(node)

    def judge(self, component: str, node: str, changes: Sequence[Change]) -> tuple[list[Change], list[Held]]:
        """The changes of one step: those that may be made now, and those that wait."""
        if not changes or not self._observation.unreachable:
            return list(changes), []
        now: list[Change] = []
        held: list[Held] = []
        for change in changes:
            if (obstacle := self._obstacle(change, node)) is None:
                now.append(change)
            else:
                held.append(Held(component, node, (change,), *obstacle))
        unit = next((each for each in held if isinstance(each.changes[0].resource, Unit)), None)
        if unit:
            self._held[component] = unit.awaits
            return [], [replace(unit, changes=tuple(changes))]
        for earlier, awaits in self._held.items():
            if earlier in self._before[component]:
                return [], [Held(component, node, tuple(changes), awaits, f"it comes after {earlier}, which waits")]
        return now, held

    def restart(self, change: Change, resources: Iterable[Resource]) -> Held | None:
        """The restart of a whole node as a waiting step; None if it may be carried out now."""
        for rolling in [unit.rolling for unit in resources if isinstance(unit, Unit) and unit.active and unit.rolling]:
            if obstacle := self._missing(rolling, change.restarts):
                return Held("", change.restarts, (change,), *obstacle)
        return None

    def _obstacle(self, change: Change, node: str) -> _Obstacle | None:
        """The reason why the change must not be made now; None if it may be made."""
        away = self._observation.unreachable.keys()
        if (found := disturbed(change, node, self._observation)) and (obstacle := self._missing(found[1], node)):
            return obstacle
        match change.resource:
            case Object() as wanted:
                if (asked := away & {name for name, _ in wanted.needs}) and not self._permitted(wanted):
                    return self._places(asked), f"whether it may be changed depends on {_listed(asked)}"
                answers = {name: self._observation.answer(name, wanted.probe) for name in wanted.on}
                if wanted.here and (holders := away & set(wanted.on)) and not wanted.holder(answers):
                    return self._places(holders), "no node that answers holds it"
            case File(content=Deferred() as content) if node in self._observation.nodes:
                if (asked := away & content.needs.keys()) and render(content, self._observation) is None:
                    return self._places(asked), f"its content is known once {content.why}"
        return None

    def _permitted(self, wanted: Object) -> bool:
        """Whether the answers without the nodes that are away are enough for the object's `permit`."""
        known = {name: self._observation.answer(name, request) for name, request in wanted.needs}
        return wanted.permit is not None and wanted.permit(known) is None

    def _missing(self, rolling: Rolling, node: str) -> _Obstacle | None:
        """The other members of the group that are away, if the members need each other."""
        missing = (self._groups[rolling.group] - {node}) & self._observation.unreachable.keys()
        if rolling.alone or not missing:
            return None
        reason = f"{rolling.group} is without {_listed(missing)} already, and this would take one more"
        return self._places(missing), reason

    def _places(self, away: set[str]) -> tuple[str, ...]:
        """The names of the sites without a reachable node, and of the other nodes that are away."""
        reached = {node.site for node in self._nodes if node.name not in self._observation.unreachable}
        names = (
            node.name if node.site in reached else node.site or node.name for node in self._nodes if node.name in away
        )
        return tuple(dict.fromkeys(names))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
