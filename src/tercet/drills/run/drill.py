"""Runs a drill: load from every apps node → faults → healing → back to health → verdict.

Invariants
- Nothing is changed before the platform is healthy and all faults are known to be possible on it.
- Whatever happens, the faults are healed, the loads are ended, and the drill's table and job are removed. If the tool
  is killed, the next drill removes the table and the job.
- Everything that the verdict depends on is in the journal; `result` computes the verdict from the journal alone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from tercet.components.patroni.status import PostgresKeys
from tercet.converge.component import Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.persistent import PersistentAgents
from tercet.converge.requests import Request
from tercet.drills import journal
from tercet.drills.judge.verdict import Result, result
from tercet.drills.run import live
from tercet.drills.run.capable import lacking
from tercet.drills.run.course import Course, back_to_health, collect, recorder, script
from tercet.drills.run.healing import Healing, possible, uninterrupted, victims
from tercet.drills.run.leftovers import TABLE, sweep
from tercet.drills.run.load import create_table
from tercet.drills.run.loads import Loads
from tercet.drills.run.predict import predict
from tercet.drills.run.questions import (
    caught_up,
    clocks,
    facts,
    running,
    seen_with_primary,
    view_of,
)
from tercet.drills.scenario.model import Scenario
from tercet.drills.scenario.targets import chooses_standby
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.session.session import Session

HEALTHY_BEFORE_S = 30.0
HEALTHY_AFTER_S = 180.0
STEADY_S = 20.0
SPARE_S = 300.0  # seconds added to the drill's length for the load's own time limit; the host ends the load earlier


class DrillError(TercetError):
    """The drill could not be run. No change is left on the platform."""


async def run(scenario: Scenario, session: Session, *, site: str, folder: Path, who: str, emit: Emit) -> Result:
    """Run one drill and judge it. The journal is FOLDER/NAME-TIME.jsonl and is kept.

    `site` is the value of --site, or "". `who` is shown to others as the lock's holder. Raises TercetError if the drill
    cannot be run. A broken promise is not an error but a `Result` that has not passed.
    """
    _check_capabilities(scenario, session)
    _check_site(scenario, site)
    path = journal_path(folder, scenario.name)
    try:
        async with session.provider.lock(who):
            with journal.Journal(path) as book:
                await _run(scenario, session, site, book, emit)
                judged = result(journal.read(path))
                book.append(judged.verdict)
    except BaseExceptionGroup as group:
        raise first_of(group) from group
    emit(Event("drill", "done" if judged.passed else "failed", f"{scenario.name}: journal {path}"))
    return judged


def _check_capabilities(scenario: Scenario, session: Session) -> None:
    """What the provider cannot do is said before anything is touched."""
    reasons = lacking(scenario.needs, session)
    if reasons:
        needs = "; ".join(f"{need}: {reason}" for need, reason in reasons.items())
        others = " or ".join(each for each in scenario.providers if each != session.platform.settings.provider)
        remedy = f". Run it with the provider {others}" if others else ""
        raise DrillError(f"{scenario.name} cannot be run here. It needs {needs}{remedy}")


def _check_site(scenario: Scenario, site: str) -> None:
    """Refuse --site if the drill is not about a standby: the option would have no effect."""
    targets = dict.fromkeys(target for fault in scenario.faults for target in fault.targets)
    if site and not any(chooses_standby(target) for target in targets):
        raise DrillError(
            f"expected --site with a drill that is about a standby, found {scenario.name}, which is about "
            f"{', '.join(targets)}. Leave --site out, or write your own scenario for `site {site}`"
        )


def journal_path(folder: Path, name: str) -> Path:
    """The path of a new journal. Creates the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DrillError(
            f"expected a folder for journals at {folder}, found: {error.strerror}; name another"
        ) from error
    return folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"


def first_of(error: BaseException) -> BaseException:
    """The first error inside nested groups, with the notes of the groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(scenario: Scenario, session: Session, site: str, book: journal.Journal, emit: Emit) -> None:
    emit(Event("drill", "started", f"{scenario.name}: {scenario.title}"))
    wrong = await session.healthy(HEALTHY_BEFORE_S)
    if wrong:
        raise DrillError(f"expected a healthy platform before a drill, found: {wrong}; see `tercet verify`")
    seen = await seen_with_primary(session)
    view = view_of(session, seen, site)
    faults = [model.fault(view, facts(session), number) for number, model in enumerate(scenario.faults, 1)]
    await possible(faults, session.provider)
    table = f"{TABLE}{int(time.time())}"
    course = Course(scenario, session, view, faults, seen, book, table, emit)
    course.open(await clocks(session, [node.name for node in session.platform.nodes]))
    numbers = replace(
        await running(session, view.primary),
        load_period=1 / scenario.load.writes,
        deadline=scenario.load.deadline,
    )
    prediction = predict(scenario.mechanism, numbers, silent=_silent(course))
    if prediction.terms:
        book.append(prediction.entry(course.now))
    await sweep(session)
    try:
        await _make_table(course)
        scene = await _make_job(course)
        await _under_load(course, scene)
        course.say("collecting records and tables")
        await collect(course, (await session.snapshot()).of(PostgresKeys).postgres.primary)
    finally:
        await uninterrupted(sweep(session))


def _silent(course: Course) -> int:
    return max(1, len([node for node in victims(course.faults) if node != "world"]))


async def _make_table(course: Course) -> None:
    """The drill's table, on every database node."""
    session, owner = course.session, course.session.platform.settings.postgresql.user
    await session.sql(course.view.primary, ";\n".join(create_table(course.table, owner)) + ";")
    await caught_up(session, course.view.primary, 15.0)


async def _make_job(course: Course) -> live.Scene:
    """The drill's scene. If a promise is about a Nomad job, with such a job at the site that will be lost."""
    hit = victims(course.faults)
    platform, fleet = course.session.platform, course.session.provider
    scene = live.Scene(platform, hit, live.job_name(), course.session.context.secrets)
    sites = [node.site for node in platform.of(Role.APPS) if node.name in hit]
    promised = (live.OBSERVED.get(name) for name in course.scenario.expect.promises)
    if not sites or not any(one.job for one in promised if one is not None):
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


async def _under_load(course: Course, scene: live.Scene) -> None:
    """Run the loads, and make the faults meanwhile."""
    scenario, provider = course.scenario, course.session.provider
    loads = Loads(course.session, course.table, scenario.load, scenario.seconds + SPARE_S)
    async with asyncio.TaskGroup() as tasks:
        try:
            await loads.start(tasks, course.book, course.began)
            course.say(f"load from {len(course.session.platform.sites)} sites")
            await course.until(course.now + scenario.warm_up)
            late = await loads.steady(STEADY_S)
            if late:
                raise DrillError(
                    f"expected successful statements before the fault, found none for {late}; the "
                    f"machine may be overloaded, see `tercet verify`"
                )
            # Looks that start Python each time would take CPU from the measured programs.
            async with PersistentAgents(provider) as fleet:
                async with Healing(provider, provider.faults, recorder(course)) as healing:
                    await script(course, healing, scene, fleet)
                course.say("healed; back to health")
                await back_to_health(course, HEALTHY_AFTER_S, fleet)
            await course.until(course.now + scenario.observe)
        finally:
            await uninterrupted(loads.stop())
