"""One round of a drill: it makes the faults at their times, observes the platform, and collects data for the verdict.

Invariant: everything that the verdict depends on is in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tercet.converge.component import Condition, Passing, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.gates import wait_for
from tercet.drills import journal
from tercet.drills.expect import seconds_of
from tercet.drills.judge.verdict import HEALTHY_AGAIN
from tercet.drills.run import live
from tercet.drills.run.clock import NodeClock
from tercet.drills.run.healing import Healing, roaming, victims
from tercet.drills.run.load import Bounds
from tercet.drills.run.questions import (
    caught_up,
    component_records,
    disturbances,
    flavour,
    nodes_of,
    primary_changes,
    role_changes,
    routes,
    tables,
)
from tercet.drills.scenario.actions import Fault
from tercet.drills.scenario.model import Scenario
from tercet.drills.scenario.targets import View
from tercet.observe.snapshot import Snapshot
from tercet.session.session import Session, SqlError


@dataclass
class Course:
    """One round under way."""

    scenario: Scenario
    session: Session
    view: View
    faults: list[Fault]
    seen: Snapshot
    book: journal.Journal
    table: str
    emit: Emit
    began: float = field(default_factory=time.time)
    known: Mapping[str, NodeClock] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Second of the round."""
        return time.time() - self.began

    def say(self, text: str, state: str = "progress") -> None:
        self.emit(Event("drill", state, text, seconds=self.now))

    async def until(self, second: float) -> None:
        """Wait until the scheduled time."""
        await asyncio.sleep(max(0.0, second - self.now))

    def open(self, clocks: Mapping[str, NodeClock]) -> None:
        """Write the first entries of the journal."""
        self.known, scenario = clocks, self.scenario
        self.book.append(
            journal.Began(
                t=0.0,
                scenario=scenario.name,
                title=scenario.title,
                promise=scenario.promise,
                expect=scenario.expect,
                budgets=self.session.platform.settings.budgets,
                platform=self.session.platform.name,
                unix=self.began,
                nodes=nodes_of(self.seen),
                writes_per_second=scenario.load.writes,
                reads_per_second=scenario.load.reads,
                transactions_per_second=scenario.load.transactions,
                deviation=flavour(self.session).deviation,
            )
        )
        self.book.append(journal.Primary(t=0.0, node=self.view.primary))
        for node, clock in clocks.items():
            self.book.append(journal.Clock(t=self.now, node=node, offset=clock.offset, uncertainty=clock.uncertainty))

    def promise(self, name: str, held: bool, detail: str) -> None:
        self.book.append(journal.Promise(t=self.now, name=name, held=held, detail=detail))


async def script(course: Course, healing: Healing, scene: live.Scene, fleet: Fleet) -> None:
    """Make each fault at its time and heal it at its end. Meanwhile, observe the promises that need the platform."""
    start = course.now
    steps: list[tuple[float, int, Fault, bool]] = []
    for model, fault in zip(course.scenario.faults, course.faults, strict=True):
        for begins, ends in model.spells:
            steps.append((begins, len(steps), fault, True))
            steps.append((ends, len(steps), fault, False))
    first_end = start + min(at for at, _, _, makes in steps if not makes)
    looking: list[asyncio.Task[None]] = []
    try:
        for at, _, fault, makes in sorted(steps, key=lambda step: step[:2]):
            await course.until(start + at)
            if makes:
                course.say(fault.title)
                await healing.inject(fault)
                if not looking:
                    looking = _look(course, scene, fleet, first_end)
            else:
                await asyncio.gather(*looking)
                course.say(f"healing: {fault.title}")
                await healing.heal(fault)
    finally:
        for task in looking:
            task.cancel()


def _look(course: Course, scene: live.Scene, fleet: Fleet, ends: float) -> list[asyncio.Task[None]]:
    """One task for each promise that only the running platform can answer."""
    budgets = course.session.platform.settings.budgets

    async def one(name: str, promised: live.ObservedPromise) -> None:
        check, asked = promised.look(scene)
        began = course.now
        deadline = max(1.0, ends - began - 0.5)
        [(_, state)] = await wait_for([Condition(name, check)], asked, fleet, deadline=deadline, interval=0.5)
        took = course.now - began
        within = None if promised.budget is None else seconds_of(promised.budget, budgets)
        held = isinstance(state, Passing) and (within is None or took <= within)
        said = state.detail if isinstance(state, Passing) else state.reason
        entry = journal.Promise(t=course.now, name=name, held=held, detail=f"{said}, after {took:.1f} s")
        course.book.append(entry)

    promised = {name: live.OBSERVED.get(name) for name in course.scenario.expect.promises}
    return [asyncio.create_task(one(name, found)) for name, found in promised.items() if found is not None]


async def back_to_health(course: Course, deadline: float, fleet: Fleet) -> str:
    """Wait until the platform is healthy, and record the result. Returns "", or what is still wrong."""
    last = ""

    def waits(condition: Condition, state: Waiting) -> None:
        nonlocal last
        last = f"last: {condition.title}: {state.reason}"

    wrong = await course.session.healthy(deadline, fleet, waits)
    course.promise(HEALTHY_AGAIN, not wrong, wrong or last)
    return wrong


def recorder(course: Course) -> Callable[[str, Fault, str], None]:
    def record(action: str, fault: Fault, detail: str) -> None:
        entry = {
            "kind": "fault",
            "t": course.now,
            "action": action,
            "fault": fault.title,
            "nodes": fault.nodes,
            "sites": tuple(sorted(fault.sites)),
            "detail": detail,
        }
        if action == "heal failed":
            course.say(f"{fault.title} is not healed: {detail}", "failed")
        course.book.append(journal.parse(entry))

    return record


async def collect(course: Course, primary: str | None, bounds: Bounds | None = None) -> None:
    """Write the records, the roles over time and the tables into the journal, and then the mark that it is complete.

    `primary` is the present primary. `bounds` limit the rows to this round's own, if the load continues in the same
    table.
    """
    session, book = course.session, course.book
    if primary is not None:
        # A primary that does not answer SQL is a finding, not a reason to record nothing.
        with contextlib.suppress(SqlError, Unreachable):
            await caught_up(session, primary, 30.0)
    found = await component_records(session, course.known, course.began)
    for record in found:
        book.append(record)
    changes = primary_changes(course.view.primary, found)
    if primary is not None and changes[-1].node != primary:
        changes.append(journal.Primary(t=course.now, node=primary))
    for change in changes[1:]:
        book.append(change)
    faults = [entry for entry in journal.read(book.path) if isinstance(entry, journal.Fault)]
    faulted = min((fault.t for fault in faults), default=0.0)
    roles, disturbed = role_changes(changes, found), disturbances(session.platform, faults)
    hit, roam = victims(course.faults), roaming(course.faults)
    for route in routes(session.platform, roles, hit, roam, faulted, disturbed=disturbed):
        book.append(route)
    for table in await tables(session, course.table, course.began, course.now, bounds):
        book.append(table)
    book.append(journal.Collected(t=course.now))
