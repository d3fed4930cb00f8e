"""Restarts containers that serve: one at a time, in the plan's order, each only while the whole platform is healthy.

This is like the restart of a unit of a rolling group, but for a whole node: it disturbs the node's members of all
groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tercet.converge.component import Component, Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.gates import explain, wait_for
from tercet.converge.plan import Change
from tercet.errors import TercetError
from tercet.inventory.platform import Node
from tercet.observe.snapshot import Units, conditions_of, questions, state_of, units_of
from tercet.providers.base import Provider

PHASE = "restarts"


async def restart(
    changes: Sequence[Change],
    components: Sequence[Component],
    nodes: Sequence[Node],
    *,
    provider: Provider,
    fleet: Fleet,
    emit: Emit,
    gate_timeout: float,
    away: frozenset[str] = frozenset(),
) -> None:
    """Carry out `Plan.restarts`. Raises TercetError with the containers that were restarted and those that were not.

    Before the first restart and after each, the platform without the nodes that are `away` must be healthy within
    `gate_timeout` seconds.
    """

    units = units_of(components, [node for node in nodes if node.name not in away]) if changes else {}

    async def well() -> None:
        judged = await wait_for(
            [*conditions_of(components), *_units_run(units)],
            questions(components, nodes, units),
            fleet,
            deadline=gate_timeout,
            away=away,
            waiting=lambda condition, state: emit(
                Event(PHASE, "progress", f"waiting: {condition.title}: {state.reason}")
            ),
        )
        if text := await explain(judged, fleet, away=away):
            raise TercetError(f"the platform is not healthy after {gate_timeout:g} s, which a restart requires\n{text}")

    done: list[str] = []
    try:
        if changes:
            await well()
        for change in changes:
            await provider.prepare([change], emit)
            done.append(change.restarts)
            await well()
    except TercetError as error:
        left = [change.restarts for change in changes[len(done) :]]
        raise TercetError(f"{error}\n{_stand(done, left)}") from error


def _stand(done: Sequence[str], left: Sequence[str]) -> str:
    """The state when the restarts stopped."""
    return (
        f"Restarted: {', '.join(done) or 'none'}. Not restarted: {', '.join(left) or 'none'}; `tercet apply` continues"
    )


def _units_run(units: Units) -> Iterator[Condition]:
    """Every node's units run. This is asked on the node, because information from others may be older than its
    restart.
    """
    for node, by_component in units.items():
        if names := [name for of_component in by_component.values() for name in of_component]:
            yield Condition(f"{node}: all units run", _run(node, names), tuple((node, name) for name in names))


def _run(node: str, units: Sequence[str]) -> Callable[[Readings], State]:
    def check(readings: Readings) -> State:
        if not readings.reachable(node):
            return Waiting(f"{node} does not answer")
        down = [f"{unit} is {state}" for unit in units if (state := state_of(readings, node, unit)) != "active"]
        return Waiting(", ".join(down)) if down else Passing()

    return check
