"""Executes a plan: exactly its steps, in its order. A gate follows the steps of each component.

Invariants
- The steps of a component start when the gates of all components before it have passed. Components that do not depend
  on each other run in parallel.
- At most one running member of a rolling group is disturbed at a time, and only while the component's gate passes.
  Members that work alone and no longer serve when their turn comes are changed first, without a gate: their change may
  be what they lack.
- After a failure nothing new is started: running scripts are finished, and the error is raised.
- Nodes that the plan found unreachable are not asked, and gates judge only the others (Readings.present).
- If this is cancelled at any point, the next plan finds everything that was half done (see nodeside/agent/stamps.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from tercet.converge.component import Component, Condition, Readings, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.gates import explain, wait_for
from tercet.converge.observe import ask
from tercet.converge.order import in_order
from tercet.converge.plan import Change, Plan, Step
from tercet.converge.planner import desired
from tercet.converge.resources import Rolling, Turn
from tercet.converge.steps import Executor
from tercet.errors import TercetError
from tercet.inventory.platform import Node

ASK_S = 10.0


async def apply(
    plan: Plan,
    components: Sequence[Component],
    nodes: Sequence[Node],
    fleet: Fleet,
    emit: Emit,
    *,
    gate_timeout: float = 60.0,
    gates: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Carry out `plan.steps` (the provider has carried out `plan.infrastructure` before).

    `gate_timeout` is in seconds for each gate; `gates` has other values for some components. An unchanged component
    also has a gate if a changed one comes right after it. Raises TercetError with all failures and what was carried
    out.
    """
    run = _Run(plan, in_order(components), nodes, fleet, emit=emit, gate_timeout=gate_timeout, gates=gates)
    async with asyncio.TaskGroup() as group:
        for component in run.components:
            group.create_task(run.phase(component))
    if run.errors:
        raise TercetError("\n\n".join(dict.fromkeys((*run.errors, run.stand()))))


class _Halted(Exception):  # noqa: N818 - no error but the way out
    """Raised instead of starting something, because something else failed."""


class _Run:
    """One execution of one plan."""

    def __init__(
        self,
        plan: Plan,
        components: Sequence[Component],
        nodes: Sequence[Node],
        fleet: Fleet,
        *,
        emit: Emit,
        gate_timeout: float,
        gates: Mapping[str, float],
    ) -> None:
        self.components = components
        self.errors: list[str] = []
        self._nodes = nodes
        self._fleet = fleet
        self._emit = emit
        self._gate_timeout = {component.name: gates.get(component.name, gate_timeout) for component in components}
        self._away = plan.away
        self._executor = Executor(fleet, desired(components, nodes), self._may_go_on, self._away)
        self._ended = {component.name: asyncio.Event() for component in components}
        self._steps: dict[str, list[Step]] = {component.name: [] for component in components}
        for step in plan.steps:
            self._steps[step.component].append(step)
        self._done: list[Step] = []
        changed = [component for component in components if self._steps[component.name]]
        self._gated = {name for component in changed for name in (component.name, *component.after)}

    def _may_go_on(self) -> None:
        if self.errors:
            raise _Halted

    def stand(self) -> str:
        """How much of each component was carried out, for an error message."""
        parts = [
            f"{name} {sum(step.component == name for step in self._done)} of {len(steps)}"
            for name, steps in self._steps.items()
            if steps
        ]
        return f"Carried out, in nodes: {', '.join(parts)}. `tercet apply` finds what is missing and does the rest"

    async def phase(self, component: Component) -> None:
        """Carry out one component, when the components before it have finished."""
        name = component.name
        for before in component.after:
            await self._ended[before].wait()
        report = _Report(name, self._emit)
        try:
            self._may_go_on()
            if name in self._gated:
                steps = self._steps[name]
                report("started", f"{sum(len(step.changes) for step in steps)} changes" if steps else "unchanged")
                await self._carry_out(component, steps, report)
                report("done", name)
        except _Halted:
            pass
        except TercetError as error:
            self._fail(error, report)
        self._ended[name].set()

    def _fail(self, error: TercetError, report: _Report) -> None:
        self.errors.append(str(error))
        report("failed", str(error).partition("\n")[0])

    async def _carry_out(self, component: Component, steps: Sequence[Step], report: _Report) -> None:
        disturbing = [step for step in steps if step.rolling]
        await self._side_by_side((step for step in steps if not step.rolling), report)
        idle = await self._idle(disturbing)
        await self._side_by_side(idle, report)
        disturbing = [step for step in disturbing if step not in idle]
        await self._gate(component, report, disturbing[0] if disturbing else None)
        for step in disturbing:
            await self._hand(step, report)
            await self._gate(component, report)

    async def _idle(self, steps: Sequence[Step]) -> list[Step]:
        """The steps on members that work alone and do not serve now."""
        alone = {step.node: step.rolling for step in steps if step.rolling and step.rolling.alone}
        asked = {node: {rolling.group: rolling.question} for node, rolling in alone.items()}
        readings = await ask(self._fleet, asked, timeout=ASK_S) if asked else Readings({})

        def serves(node: str, rolling: Rolling) -> bool:
            return rolling.turn(readings.get(node, rolling.group)) is not Turn.NOBODY

        return [step for step in steps if step.node in alone and not serves(step.node, alone[step.node])]

    async def _side_by_side(self, steps: Iterable[Step], report: _Report) -> None:
        async def one(step: Step) -> None:
            try:
                await self._hand(step, report)
            except _Halted:
                pass
            except TercetError as error:  # the scripts on the other nodes are finished anyway
                self._fail(error, report)

        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(one(step))
        self._may_go_on()

    async def _hand(self, step: Step, report: _Report) -> None:
        await self._executor.execute(step, report.made)
        self._done.append(step)

    async def _gate(self, component: Component, report: _Report, before: Step | None = None) -> None:
        """Wait for the component's conditions. `before` is the next step that disturbs a member, if there is one."""
        self._may_go_on()
        patience = self._gate_timeout[component.name]
        questions = {node.name: asked for node in self._nodes if (asked := component.questions(node))}
        judged = await wait_for(
            component.healthy(),
            questions,
            self._fleet,
            deadline=patience,
            away=self._away,
            go_on=lambda: not self.errors,
            waiting=report.waiting,
        )
        self._may_go_on()
        if text := await explain(judged, self._fleet, away=self._away):
            held = (
                f"  No running member of {before.group} was disturbed, because all others must be healthy first."
                if before
                else ""
            )
            raise TercetError(f"{component.name} is not healthy after {patience:g} s.{held}\n{text}")


class _Report:
    """Emits the events of one phase."""

    def __init__(self, phase: str, emit: Emit) -> None:
        self._phase = phase
        self._emit = emit
        self._started = time.monotonic()

    def __call__(self, state: str, text: str, node: str = "") -> None:
        self._emit(Event(self._phase, state, text, node, time.monotonic() - self._started))

    def made(self, change: Change, node: str) -> None:
        """Emit an event for a change."""
        self("progress", f"{change}: {change.reason}", node)

    def waiting(self, condition: Condition, state: Waiting) -> None:
        """Emit an event for the condition that a gate waits for."""
        self("progress", f"waiting: {condition.title}: {state.reason}")
