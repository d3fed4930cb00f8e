"""What must wait while nodes cannot be reached, for whom, and why. Pure.

Invariants
- No running member of a rolling group is disturbed while another member is away, unless the members work alone.
- A step waits as a whole, its files too: a program that crashes meanwhile comes back as it was, not with a
  configuration that nobody has seen it run with.
- What comes after a unit that waits for its restart waits too: it may need what that restart brings. (A setting that
  a program takes in later, an object, holds up nobody.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tercet.converge.compare import render
from tercet.converge.component import Component
from tercet.converge.observe import Observation
from tercet.converge.order import ancestors
from tercet.converge.plan import Change, Held, Step
from tercet.converge.requests import Late
from tercet.converge.resources import File, Object, Resource, Rolling, Unit
from tercet.inventory.platform import Node

UNDISTURBED = -1  # below every rank of a member that serves


def disturbed(change: Change, node: str, observation: Observation) -> tuple[int, Rolling] | None:
    """The rolling group of which the change disturbs a running member, with the member's rank; None if it does not."""
    match change.resource:
        case Unit(rolling=Rolling() as rolling) if change.verb in ("restart", "stop"):
            pass
        case Object(rolling=Rolling() as rolling):
            pass
        case _:
            return None
    if node not in observation.nodes:
        return None
    rank = rolling.order(observation.answer(node, rolling.rank))
    return (rank, rolling) if rank > UNDISTURBED else None


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
        self._held: dict[str, tuple[str, ...]] = {}  # components with a unit that waits → what for
        self._groups: defaultdict[str, set[str]] = defaultdict(set)
        for by_node in wanted:
            for node, resources in by_node.items():
                for resource in resources:
                    if isinstance(resource, Unit | Object) and resource.rolling:
                        self._groups[resource.rolling.group].add(node)

    def step(self, step: Step) -> Held | None:
        """The step as one that waits; None if it may be carried out."""
        if not self._observation.unreachable:
            return None
        obstacles = [(change, *found) for change in step.changes for found in self._obstacles(change, step.node)]
        for change, away, _ in obstacles:
            if isinstance(change.resource, Unit):
                self._held[step.component] = self._places(away)
        if obstacles:
            _, away, reason = obstacles[0]
            return Held(step.component, step.node, step.changes, self._places(away), reason)
        for earlier in self._before[step.component]:
            if earlier in self._held:
                awaits, reason = self._held[earlier], f"it comes after {earlier}, which waits"
                return Held(step.component, step.node, step.changes, awaits, reason)
        return None

    def restart(self, change: Change, resources: Iterable[Resource]) -> Held | None:
        """The restart of a whole node, with all that runs there, as one that waits; None if it may be carried out."""
        node = change.restarts
        units = (resource for resource in resources if isinstance(resource, Unit) and resource.active)
        obstacles = (found for unit in units if unit.rolling for found in self._missed_in(unit.rolling, node))
        for away, reason in obstacles:
            return Held("", node, (change,), self._places(away), reason)
        return None

    def _obstacles(self, change: Change, node: str) -> Iterator[tuple[set[str], str]]:
        """Why the change must not be made now: the nodes that are missed, and the reason."""
        away = self._observation.unreachable.keys()
        if found := disturbed(change, node, self._observation):
            yield from self._missed_in(found[1], node)
        match change.resource:
            case Object() as wanted:
                if asked := away & {name for name, _ in wanted.needs}:
                    yield asked, f"whether it may be changed depends on {_listed(asked)}"
                answers = {name: self._observation.answer(name, wanted.probe) for name in wanted.on}
                if wanted.here and (holders := away & set(wanted.on)) and not wanted.holder(answers):
                    yield holders, "no node that answers holds it"
            case File(content=Late() as late) if node in self._observation.nodes:
                if (asked := away & late.needs.keys()) and render(late, self._observation) is None:
                    yield asked, f"its content is known once {late.why}"

    def _missed_in(self, rolling: Rolling, node: str) -> Iterator[tuple[set[str], str]]:
        """The other members of the group that are away."""
        missing = (self._groups[rolling.group] - {node}) & self._observation.unreachable.keys()
        if missing and not rolling.alone:
            yield missing, f"{rolling.group} is without {_listed(missing)} already, and this would take one more"

    def _places(self, away: set[str]) -> tuple[str, ...]:
        """Sites of which nothing can be reached by their names, other nodes by theirs."""
        reached = {node.site for node in self._nodes if node.name not in self._observation.unreachable}
        names = (
            node.name if node.site in reached else node.site or node.name for node in self._nodes if node.name in away
        )
        return tuple(dict.fromkeys(names))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
