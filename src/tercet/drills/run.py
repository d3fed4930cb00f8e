"""Running a drill: load from every apps node → faults → healing → back to health → verdict.

Invariants
- Nothing is touched before the platform is healthy and all faults are known to be possible on it.
- Whatever happens, the faults are healed, the loads ended, the drill's table and job removed; what a killed tool
  left of these two, the next drill removes.
- All that the verdict rests on is in the journal; `result` computes it from there alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tercet.converge.component import Condition, Passing, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Request
from tercet.converge.resident import Residents
from tercet.drills import journal, live
from tercet.drills.clock import NodeClock
from tercet.drills.expect import seconds_of
from tercet.drills.faults import fault_of
from tercet.drills.healing import Fault, Healing, possible, uninterrupted, victims
from tercet.drills.leftovers import TABLE, sweep
from tercet.drills.load import LoadError, LoadSettings, SiteLoad, Target, create_table, writers_of
from tercet.drills.predict import predict
from tercet.drills.scenario import OWN_DISK, Scenario
from tercet.drills.stage import (
    Stage,
    StageError,
    caught_up,
    clocks,
    component_records,
    nodes_of,
    primary_changes,
    routes,
    running,
    tables,
    view_of,
)
from tercet.drills.targets import View, chooses_standby
from tercet.drills.verdict import Result, result
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.observe.snapshot import Snapshot

HEALTHY_BEFORE_S = 30.0
HEALTHY_AFTER_S = 180.0
STEADY_S = 20.0
SPARE_S = 300.0  # the load's own time limit above the drill's length; the host ends it earlier


class DrillError(TercetError):
    """The drill could not be run; nothing of the platform is left changed."""


@dataclass
class _Drill:
    """One drill under way."""

    scenario: Scenario
    stage: Stage
    view: View
    faults: list[Fault]
    seen: Snapshot
    book: journal.Journal
    table: str
    emit: Emit
    began: float = field(default_factory=time.time)
    loads: list[SiteLoad] = field(default_factory=list)
    over: bool = False

    @property
    def now(self) -> float:
        """Second of the drill."""
        return time.time() - self.began

    def say(self, text: str, state: str = "progress") -> None:
        self.emit(Event("drill", state, text, seconds=self.now))


async def run(scenario: Scenario, stage: Stage, *, site: str, folder: Path, who: str, emit: Emit) -> Result:
    """Run one drill and judge it. The journal is FOLDER/NAME-TIME.jsonl; it stays there.

    `site` is --site's ("" if not given), `who` what others see as the lock's holder. Raises TercetError where the
    drill cannot be run; a broken promise is no error but a `Result` that has not passed.
    """
    missing = scenario.needs - stage.provider.faults.can - {OWN_DISK}
    if missing:
        raise DrillError(
            f"{scenario.name} needs a provider that can {', '.join(sorted(missing))}; this one cannot. Run it in the "
            f"lab (--lab)"
        )
    _check_site(scenario, site)
    path = _journal_path(folder, scenario.name)
    try:
        async with stage.provider.lock(who):
            with journal.Journal(path) as book:
                await _run(scenario, stage, site, book, emit)
                judged = result(journal.read(path))
                book.append(judged.verdict)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    emit(Event("drill", "done" if judged.passed else "failed", f"{scenario.name}: journal {path}"))
    return judged


def _check_site(scenario: Scenario, site: str) -> None:
    """--site says which standby is meant; where none is, it would be ignored."""
    targets = dict.fromkeys(target for fault in scenario.faults for target in fault.targets)
    if site and not any(chooses_standby(target) for target in targets):
        raise DrillError(
            f"expected --site with a drill that is about a standby, found {scenario.name}, which is about "
            f"{', '.join(targets)}. Leave --site out, or aim a scenario of your own at `site {site}`"
        )


def _journal_path(folder: Path, name: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DrillError(
            f"expected a folder for journals at {folder}, found: {error.strerror}; name another"
        ) from error
    return folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"


def _first(error: BaseException) -> BaseException:
    """The first error inside nested groups, with what was noted on the way."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(scenario: Scenario, stage: Stage, site: str, book: journal.Journal, emit: Emit) -> None:
    emit(Event("drill", "started", f"{scenario.name}: {scenario.title}"))
    wrong = await stage.healthy(HEALTHY_BEFORE_S)
    if wrong:
        raise DrillError(f"expected a healthy platform before a drill, found: {wrong}; see `tercet verify`")
    seen = await stage.snapshot()
    view = view_of(stage, seen, site)
    faults = [fault_of(model, view, stage.facts(), number) for number, model in enumerate(scenario.faults, 1)]
    await possible(faults, stage.provider)
    table = f"{TABLE}{int(time.time())}"
    drill = _Drill(scenario, stage, view, faults, seen, book, table, emit)
    book.append(
        journal.Began(
            t=0.0,
            scenario=scenario.name,
            title=scenario.title,
            promise=scenario.promise,
            expect=scenario.expect,
            budgets=stage.platform.settings.budgets,
            platform=stage.platform.name,
            unix=drill.began,
            nodes=nodes_of(seen),
            writes_per_second=scenario.load.writes,
            reads_per_second=scenario.load.reads,
            transactions_per_second=scenario.load.transactions,
            deviation=stage.flavour.deviation,
        )
    )
    book.append(journal.Primary(t=0.0, node=view.primary))
    numbers = replace(
        await running(stage, view.primary),
        load_period=1 / scenario.load.writes,
        deadline=scenario.load.deadline,
    )
    prediction = predict(scenario.mechanism, numbers, silent=_silent(drill))
    if prediction.terms:
        book.append(prediction.entry(drill.now))
    known = await clocks(stage, [node.name for node in stage.platform.nodes])
    for node, clock in known.items():
        book.append(journal.Clock(t=drill.now, node=node, offset=clock.offset, uncertainty=clock.uncertainty))
    await sweep(stage)
    try:
        await _make_table(drill)
        scene = await _make_job(drill)
        await _under_load(drill, scene)
        await _collect(drill, known)
    finally:
        await uninterrupted(sweep(stage))


def _silent(drill: _Drill) -> int:
    return max(1, len([node for node in victims(drill.faults) if node != "world"]))


async def _make_table(drill: _Drill) -> None:
    """The drill's table, on every database node."""
    stage, owner = drill.stage, drill.stage.platform.settings.postgresql.user
    await stage.sql(drill.view.primary, ";\n".join(create_table(drill.table, owner)) + ";")
    await caught_up(stage, drill.view.primary, 15.0)


async def _make_job(drill: _Drill) -> live.Scene:
    """The drill's scene, with a Nomad job at the site that will be lost if the scenario is about its allocations."""
    hit = victims(drill.faults)
    platform, fleet = drill.stage.platform, drill.stage.provider
    scene = live.Scene(platform, hit, live.job_name())
    sites = [node.site for node in platform.of(Role.APPS) if node.name in hit]
    if "allocations run elsewhere" not in drill.scenario.expect.promises or not sites:
        return scene
    control = next(iter(scene.controls)).name
    put: dict[str, dict[str, Request]] = {control: {"put": live.put_job(scene, sites[0])}}
    answer = (await ask(fleet, put, timeout=15)).get(control, "put")
    if not answer.ok:
        raise DrillError(f"expected Nomad to take the drill's job, found: {answer.why()}; see `tercet status`")
    condition, asked = live.job_runs_at(scene, sites[0])
    [(_, state)] = await wait_for([condition], asked, fleet, deadline=30.0)
    if isinstance(state, Waiting):
        raise DrillError(f"expected {condition.title}, found: {state.reason}")
    return scene


async def _under_load(drill: _Drill, scene: live.Scene) -> None:
    """The loads, and in the midst of them the faults."""
    scenario = drill.scenario
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                await _start_loads(drill, tasks)
                drill.say(f"load from {len(drill.loads)} sites")
                await _until(drill, drill.now + scenario.warm_up)
                await _steady(drill)
                provider = drill.stage.provider
                # Looks that start a Python each time would take the time from what is measured.
                async with (
                    Residents(provider) as fleet,
                    Healing(provider, provider.faults, _recorder(drill)) as healing,
                ):
                    await _script(drill, healing, scene, fleet)
                drill.say("healed; back to health")
                wrong = await drill.stage.healthy(HEALTHY_AFTER_S)
                drill.book.append(journal.Promise(t=drill.now, name="healthy again", held=not wrong, detail=wrong))
                await _until(drill, drill.now + scenario.observe)
            finally:
                drill.over = True
                await uninterrupted(_stop_loads(drill))
    finally:
        drill.over = True


async def _stop_loads(drill: _Drill) -> None:
    await asyncio.gather(*(load.stop() for load in drill.loads))


async def _until(drill: _Drill, second: float) -> None:
    """The schedule of the drill, not a wait for something to happen."""
    await asyncio.sleep(max(0.0, second - drill.now))


async def _steady(drill: _Drill) -> None:
    """Wait until every site writes and reads, so that what is measured is the fault's doing."""
    ends = drill.now + STEADY_S
    while True:
        late = [
            f"{worker} at {load.target.site}"
            for load in drill.loads
            for worker in ("writer", "reader")
            if drill.now - load.succeeded.get(worker, float("-inf")) > 1.0
        ]
        if not late:
            return
        if drill.now > ends:
            raise DrillError(
                f"expected the load to get through before the fault, found no success for {', '.join(late)}; the "
                f"machine may be overloaded, see `tercet verify`"
            )
        await asyncio.sleep(0.2)


async def _start_loads(drill: _Drill, tasks: asyncio.TaskGroup) -> None:
    stage = drill.stage
    writers = writers_of(tuple(site.name for site in stage.platform.sites))
    for node in stage.platform.of(Role.APPS):
        target = Target(node.site, node.name, stage.conninfo(), drill.table, writers)
        drill.loads.append(SiteLoad(target, drill.book, drill.began))
    async with asyncio.TaskGroup() as starting:
        for load in drill.loads:
            starting.create_task(_start(drill, load))
    for load in drill.loads:
        tasks.create_task(_keep(drill, load))


async def _start(drill: _Drill, load: SiteLoad) -> None:
    asked = drill.scenario.load
    settings = LoadSettings(asked.writes, asked.reads, asked.transactions, asked.deadline)
    await load.start(drill.stage.provider, settings, drill.scenario.seconds + SPARE_S)


async def _keep(drill: _Drill, load: SiteLoad) -> None:
    """Follow a site's load; where its node died, start it again as soon as the node is back."""
    await load.follow()
    while not drill.over:
        try:
            await _start(drill, load)
        except (LoadError, Unreachable):
            await asyncio.sleep(0.5)  # between two attempts; the drill's end is the deadline
            continue
        if drill.over:
            await load.stop()  # the drill ended while it started, and stopped what was there then
        await load.follow()


async def _script(drill: _Drill, healing: Healing, scene: live.Scene, fleet: Fleet) -> None:
    """Make each fault at its time and heal it at its end; meanwhile look at what only the platform can tell."""
    start = drill.now
    steps: list[tuple[float, int, Fault, bool]] = []
    for model, fault in zip(drill.scenario.faults, drill.faults, strict=True):
        steps.append((model.at, len(steps), fault, True))
        steps.append((model.at + model.lasts, len(steps), fault, False))
    first_end = start + min(at for at, _, _, makes in steps if not makes)
    looking: list[asyncio.Task[None]] = []
    try:
        for at, _, fault, makes in sorted(steps, key=lambda step: step[:2]):
            await _until(drill, start + at)
            if makes:
                drill.say(fault.title)
                await healing.inject(fault)
                if not looking:
                    looking = _look(drill, scene, fleet, first_end)
            else:
                await asyncio.gather(*looking)
                drill.say(f"healing: {fault.title}")
                await healing.heal(fault)
    finally:
        for task in looking:
            task.cancel()


def _look(drill: _Drill, scene: live.Scene, fleet: Fleet, ends: float) -> list[asyncio.Task[None]]:
    """One task for each promise that only the running platform can tell."""
    promised = [(name, live.judge(name, scene)) for name in drill.scenario.expect.promises]
    budget = seconds_of("reschedule", drill.stage.platform.settings.budgets) or 0.0

    async def one(name: str, condition: Condition, asked: live.Questions) -> None:
        began = drill.now
        deadline = max(1.0, ends - began - 0.5)
        [(_, state)] = await wait_for([condition], asked, fleet, deadline=deadline, interval=0.5)
        took = drill.now - began
        held = isinstance(state, Passing) and (name != "allocations run elsewhere" or took <= budget)
        said = state.detail if isinstance(state, Passing) else state.reason
        entry = journal.Promise(t=drill.now, name=name, held=held, detail=f"{said}, after {took:.1f} s")
        drill.book.append(entry)

    return [asyncio.create_task(one(name, *asked)) for name, asked in promised if asked is not None]


def _recorder(drill: _Drill) -> Callable[[str, Fault, str], None]:
    def record(action: str, fault: Fault, detail: str) -> None:
        entry = {
            "kind": "fault",
            "t": drill.now,
            "action": action,
            "fault": fault.title,
            "nodes": fault.nodes,
            "sites": tuple(sorted(fault.sites)),
            "detail": detail,
        }
        if action == "heal failed":
            drill.say(f"{fault.title} is not healed: {detail}", "failed")
        drill.book.append(journal.parse(entry))

    return record


async def _collect(drill: _Drill, known: dict[str, NodeClock]) -> None:
    """Put the records, the roles over time and the tables into the journal, and that they all are there."""
    stage, book = drill.stage, drill.book
    drill.say("collecting records and tables")
    seen = await stage.snapshot()
    primary = seen.postgres.primary
    if primary is not None:
        # A primary that does not answer SQL is part of what is to be told, not a reason to tell nothing.
        with contextlib.suppress(StageError, Unreachable):
            await caught_up(stage, primary, 30.0)
    found = await component_records(stage, known, drill.began)
    for record in found:
        book.append(record)
    changes = primary_changes(drill.view.primary, found)
    if primary is not None and changes[-1].node != primary:
        changes.append(journal.Primary(t=drill.now, node=primary))
    for change in changes[1:]:
        book.append(change)
    faulted = min((fault.t for fault in journal.read(book.path) if isinstance(fault, journal.Fault)), default=0.0)
    for route in routes(stage.platform, changes, victims(drill.faults), faulted):
        book.append(route)
    for table in await tables(stage, drill.table, drill.began, drill.now):
        book.append(table)
    book.append(journal.Collected(t=drill.now))
