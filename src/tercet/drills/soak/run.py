"""Running a soak: the platform and its load stay, and round after round something else goes wrong.

Invariants
- A round begins on a healthy platform. Its faults follow from the seed and its number (draw.py), what it is judged by
  from its faults (rules.py), its verdict from its journal alone (drills.verdict).
- Every write of the load is in one round's ledger; one under way when a round ends is the next one's.
- The first round that breaks a promise ends the soak, and its journal stays. Those of the others are removed.
- However it ends, the faults are healed, the loads ended, the table removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tercet.components.patroni.status import PostgresKeys
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.persistent import PersistentAgents
from tercet.drills import journal
from tercet.drills.judge.history import Outcome
from tercet.drills.judge.verdict import Result, result
from tercet.drills.run import live
from tercet.drills.run.capable import lacking
from tercet.drills.run.course import Course, back_to_health, collect, recorder, script
from tercet.drills.run.drill import HEALTHY_BEFORE_S, SPARE_S, STEADY_S, DrillError, first_of, journal_path
from tercet.drills.run.healing import Healing, ImpossibleError, possible, uninterrupted, victims
from tercet.drills.run.leftovers import TABLE, sweep
from tercet.drills.run.load import create_table
from tercet.drills.run.loads import Loads
from tercet.drills.run.questions import caught_up, clocks, facts, view_of
from tercet.drills.scenario.drawn import DATABASES
from tercet.drills.scenario.fault import FaultModel, kinds
from tercet.drills.scenario.model import LoadModel, Scenario, fault_of
from tercet.drills.scenario.targets import View
from tercet.drills.soak.draw import describe, draw, view_for
from tercet.drills.soak.rules import HEALTHY_S, expectation, stale, survived
from tercet.drills.soak.summary import Round, Summary, said
from tercet.errors import TercetError
from tercet.observe.snapshot import Snapshot
from tercet.session.session import Session, SqlError

OBSERVE_S = 4.0
"""Seconds of load after health: a site that was hit is judged again from 3 s after it."""
LOAD = LoadModel(deadline=3.0)
"""On a bad line each of a transaction's round trips may need TCP's second or third attempt."""
LONGEST_LOAD_S = 24 * 3600.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a soak was asked for: `rounds`, or `seconds` where that is None; from round `first` on."""

    seed: int
    kinds: tuple[str, ...]
    rounds: int | None
    seconds: float = 0.0
    first: int = 1


async def kinds_of(session: Session, wanted: Sequence[str]) -> tuple[str, ...]:
    """The kinds of faults to draw from: all that this platform can have, or those wanted.

    Raises DrillError where one that is wanted is impossible here.
    """
    models = [model for kind, model in kinds().items() if kind in wanted or not wanted]
    reasons = lacking({model.needs for model in models if model.needs}, session)
    refused = {model.kind: reasons[model.needs] for model in models if model.needs in reasons}
    for model in models:
        if model.asks and (reason := await _refusal_of_nodes(model, session)):
            refused[model.kind] = reason
    if wanted and refused:
        raise DrillError("; ".join(f"{kind} is impossible here: {reason}" for kind, reason in refused.items()))
    return tuple(model.kind for model in models if model.kind not in refused)


async def _refusal_of_nodes(model: type[FaultModel], session: Session) -> str:
    """Why the fault cannot be made on every database node; empty if it can."""
    faults = [fault_of(**{model.kind: node}) for node in DATABASES]
    view = view_for(session.platform)
    try:
        await possible([one.fault(view, facts(session), 1) for one in faults], session.provider)
    except ImpossibleError as error:
        return str(error)
    return ""


@dataclass
class Soak:
    """One soak. `summary` can be asked at any time."""

    session: Session
    asked: Asked
    folder: Path
    emit: Emit
    rounds: list[Round] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    audited: bool = False
    kept: Path | None = None
    """The journal of the round that ended it."""
    _begun: list[Course] = field(default_factory=list)  # whose journals are open, in order
    _evidence: Course | None = None  # whose journal is to stay
    _acknowledged: set[str] = field(default_factory=set)
    _counted: int = 0  # rows in the table when the last round was judged

    @property
    def summary(self) -> Summary:
        asked, name = self.asked, self.session.platform.name
        return Summary(name, asked.seed, asked.kinds, asked.rounds, tuple(self.rounds), self.missing, self.audited)

    async def run(self, who: str) -> None:
        """Raises TercetError where it cannot begin or go on; a broken promise ends it without an error."""
        try:
            async with self.session.provider.lock(who), PersistentAgents(self.session.provider) as fleet:
                await self._run(fleet)
        except BaseExceptionGroup as group:
            raise first_of(group) from group

    async def _run(self, fleet: Fleet) -> None:
        session = self.session
        wrong = await session.healthy(HEALTHY_BEFORE_S, fleet)
        if wrong:
            raise DrillError(f"expected a healthy platform before a soak, found: {wrong}; see `tercet verify`")
        await sweep(session)
        try:
            seen = await session.snapshot()
            table = await self._make_table(view_of(session, seen, ""))
            await self._under_load(seen, table, fleet)
            if self.summary.broken is None:
                await self._audit(table)
        finally:
            await uninterrupted(sweep(session))

    async def _under_load(self, seen: Snapshot, table: str, fleet: Fleet) -> None:
        loads = Loads(self.session, table, LOAD, self._load_seconds())
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    course = await self._open(self.asked.first, seen, table)
                    await loads.start(tasks, course.book, course.began)
                    late = await loads.steady(STEADY_S)
                    if late:
                        raise DrillError(f"expected the load to get through before the first round, found none: {late}")
                    await self._all(course, loads, fleet)
                finally:
                    await uninterrupted(loads.stop())
        except* TercetError:
            self._evidence = next(iter(self._begun), None)
            raise
        finally:
            for course in tuple(self._begun):
                self._end(course)

    def _load_seconds(self) -> float:
        """The loads' own time limit. Where rounds are counted, each may take as long as one that passes ever does."""
        rounds = self.asked.rounds
        wanted = self.asked.seconds if rounds is None else rounds * (HEALTHY_S + 60.0)
        return min(wanted + SPARE_S, LONGEST_LOAD_S)

    async def _make_table(self, view: View) -> str:
        table, owner = f"{TABLE}{int(time.time())}", self.session.platform.settings.postgresql.user
        await self.session.sql(view.primary, ";\n".join(create_table(table, owner)) + ";")
        await caught_up(self.session, view.primary, 15.0)
        return table

    async def _open(self, number: int, seen: Snapshot, table: str) -> Course:
        """A round with its journal, in which the load may go on from now on."""
        session, asked = self.session, self.asked
        models = draw(asked.seed, number, asked.kinds, session.platform)
        scenario = _scenario(asked.seed, number, models, session)
        view = view_of(session, seen, "")
        faults = [model.fault(view, facts(session), place) for place, model in enumerate(models, 1)]
        book = journal.Journal(journal_path(self.folder, scenario.name))
        course = Course(scenario, session, view, faults, seen, book, table, self._failures)
        self._begun.append(course)
        course.open(await clocks(session, [node.name for node in session.platform.nodes]))
        return course

    def _end(self, course: Course) -> None:
        """Close a round's journal, into which nobody writes any more; remove it if nobody will ask about it."""
        self._begun.remove(course)
        course.book.close()
        if course is self._evidence:
            self.kept = course.book.path
        else:
            course.book.path.unlink(missing_ok=True)

    async def _all(self, course: Course, loads: Loads, fleet: Fleet) -> None:
        """Round after round, until what was asked for is done or a promise broken."""
        began = time.monotonic()
        for number in count(self.asked.first):
            back = await self._provoke(number, course, loads, fleet)
            # Who is primary now counts for both: what this round ended with, and what the next one begins with.
            seen = await self.session.snapshot()
            if back == NEVER:
                # There may be no primary to begin another round with: what there is, is judged.
                await loads.stop()
                following = course
            else:
                following = await self._open(number + 1, seen, course.table)
            bounds = loads.turn(following.book, following.began)
            await collect(course, seen.of(PostgresKeys).postgres.primary, bounds)
            judged = await self._judge(course, back)
            self._count(number, course, judged, back)
            if not judged.passed:
                self._evidence = course
                return
            self._end(course)
            if self._done(began):
                return
            course = following

    def _done(self, began: float) -> bool:
        if self.asked.rounds is None:
            return time.monotonic() - began >= self.asked.seconds
        return len(self.rounds) >= self.asked.rounds

    async def _provoke(self, number: int, course: Course, loads: Loads, fleet: Fleet) -> float:
        """Make and heal the faults of a round; the seconds until the platform was healthy again."""
        self._say(f"round {number}: {course.scenario.title}", "progress")
        provider, scene = self.session.provider, live.Scene(self.session.platform, victims(course.faults), "")
        async with Healing(provider, provider.faults, recorder(course)) as healing:
            await script(course, healing, scene, fleet)
        healed = course.now
        wrong = await back_to_health(course, HEALTHY_S, fleet)
        back = NEVER if wrong else course.now - healed
        late = await loads.steady(STEADY_S)
        course.promise("every site works again", not late, f"no success for {late}" if late else "")
        await course.until(course.now + OBSERVE_S)
        return back

    async def _judge(self, course: Course, back: float) -> Result:
        """The verdict from the round's journal, after what only the whole soak can tell was written there."""
        judged = result(journal.read(course.book.path))
        late = stale(judged, judged.phases.healed + back)
        course.promise("reads are fresh again", not late, "; ".join(late))
        gone = await self._gone(course, judged)
        course.promise("rows of earlier rounds are still there", not gone, gone)
        judged = result(journal.read(course.book.path))
        course.book.append(judged.verdict)
        return judged

    async def _gone(self, course: Course, judged: Result) -> str:
        """Rows that earlier rounds had found, and that the table lacks now. Empty if there are none."""
        before, primary = self._counted, judged.history.primaries[-1].node
        try:
            [[rows]] = await self.session.sql(primary, f'SELECT count(*) FROM "{course.table}"')
        except (SqlError, Unreachable) as error:
            return f"they could not be counted: {error}"
        self._counted = int(rows)
        return f"{before} before, {rows} now" if int(rows) < before else ""

    def _count(self, number: int, course: Course, judged: Result, back: float) -> None:
        writes = judged.history.writes
        self._acknowledged |= {write.id for write in writes if write.outcome is Outcome.ACKNOWLEDGED}
        gap = max(one.measured for one in judged.judged if one.name in ("writes", "transactions"))
        faults = course.scenario.faults
        done = Round(
            number,
            faults,
            survived(faults, self.session.platform),
            course.now,
            gap,
            back,
            judged.findings.acknowledged,
            len(judged.findings.lost),
            judged.failovers,
            judged.reasons,
        )
        self.rounds.append(done)
        told = f"gap {said(gap)}, healthy after {said(back)}, {done.acknowledged} writes, {done.lost} lost"
        text = f"round {number}: {done.title}: {told}"
        self._say("\n  ".join((text, *done.reasons)), "done" if done.passed else "failed")

    async def _audit(self, table: str) -> None:
        """Every write that was acknowledged in any round is in the table in the end."""
        seen = await self.session.snapshot()
        primary = view_of(self.session, seen, "").primary
        rows = await self.session.sql(primary, f'SELECT id FROM "{table}"')
        self.missing = tuple(sorted(self._acknowledged - {row[0] for row in rows}))
        self.audited = True

    def _say(self, text: str, state: str) -> None:
        self.emit(Event("soak", state, text))

    def _failures(self, event: Event) -> None:
        """Of what a round says, only what went wrong: a round is one line."""
        if event.state == "failed":
            self.emit(event)


def _scenario(seed: int, number: int, faults: tuple[FaultModel, ...], session: Session) -> Scenario:
    settings = session.platform.settings
    return Scenario(
        name=f"soak-{seed}-{number}",
        title="; ".join(describe(fault) for fault in faults),
        promise="Nothing is lost, and all is well again by itself.",
        faults=faults,
        load=LOAD,
        expect=expectation(faults, session.platform, settings.budgets),
    )
