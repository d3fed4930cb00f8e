"""Runs a soak: the platform and its load stay up, and each round makes other faults.

Invariants
- A round begins on a healthy platform. Its faults depend only on the seed and its number (draw.py), its expectations
  only on its faults (rules.py), and its verdict only on its journal (drills.judge.verdict).
- Every write of the load is in the ledger of one round. A write under way when a round ends belongs to the next round.
- The first round that breaks a promise ends the soak, and its journal is kept. The journals of other rounds are
  removed.
- Whenever the soak ends, the faults are healed, the loads are ended, and the table is removed.
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
from tercet.drills.judge.history import WriteOutcome
from tercet.drills.judge.verdict import Result, result
from tercet.drills.run import live
from tercet.drills.run.capable import lacking
from tercet.drills.run.course import Course, back_to_health, collect, recorder, script
from tercet.drills.run.drill import HEALTHY_BEFORE_S, SPARE_S, STEADY_S, DrillError, first_of, journal_path
from tercet.drills.run.healing import Healing, ImpossibleError, possible, uninterrupted, victims
from tercet.drills.run.leftovers import TABLE, sweep
from tercet.drills.run.load import create_table
from tercet.drills.run.loads import Loads
from tercet.drills.run.questions import caught_up, clocks, facts, seen_with_primary, view_of
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
"""Seconds of load after the platform is healthy: a hit site is judged again from 3 s after that."""
LOAD = LoadModel(deadline=3.0)
"""On a bad link, each round trip of a transaction may need TCP's second or third attempt."""
LONGEST_LOAD_S = 24 * 3600.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request for a soak: `rounds`, or `seconds` if that is None; from round `first` on."""

    seed: int
    kinds: tuple[str, ...]
    rounds: int | None
    seconds: float = 0.0
    first: int = 1


async def kinds_of(session: Session, wanted: Sequence[str]) -> tuple[str, ...]:
    """The kinds of fault to draw from: the wanted ones, or all that are possible on this platform.

    Raises DrillError if a wanted kind is impossible here.
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
    """The reason why the fault cannot be made on every database node; empty if it can."""
    faults = [fault_of(**{model.kind: node}) for node in DATABASES]
    view = view_for(session.platform)
    try:
        await possible([one.fault(view, facts(session), 1) for one in faults], session.provider)
    except ImpossibleError as error:
        return str(error)
    return ""


@dataclass
class Soak:
    """One soak. `summary` can be read at any time."""

    session: Session
    asked: Asked
    folder: Path
    emit: Emit
    rounds: list[Round] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    audited: bool = False
    kept: Path | None = None
    """The journal of the round that ended it."""
    _begun: list[Course] = field(default_factory=list)  # rounds whose journals are open, in order
    _evidence: Course | None = None  # the round whose journal must be kept
    _acknowledged: set[str] = field(default_factory=set)
    _counted: int = 0  # rows in the table when the last round was judged

    @property
    def summary(self) -> Summary:
        asked, name = self.asked, self.session.platform.name
        return Summary(name, asked.seed, asked.kinds, asked.rounds, tuple(self.rounds), self.missing, self.audited)

    async def run(self, who: str) -> None:
        """Raises TercetError if the soak cannot begin or continue. A broken promise ends it without an error."""
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
            seen = await seen_with_primary(session)
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
                        raise DrillError(f"expected successful statements before the first round, found none: {late}")
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
        """The loads' own time limit in seconds. If rounds are counted, it is enough for the longest round that can
        pass.
        """
        rounds = self.asked.rounds
        wanted = self.asked.seconds if rounds is None else rounds * (HEALTHY_S + 60.0)
        return min(wanted + SPARE_S, LONGEST_LOAD_S)

    async def _make_table(self, view: View) -> str:
        table, owner = f"{TABLE}{int(time.time())}", self.session.platform.settings.postgresql.user
        await self.session.sql(view.primary, ";\n".join(create_table(table, owner)) + ";")
        await caught_up(self.session, view.primary, 15.0)
        return table

    async def _open(self, number: int, seen: Snapshot, table: str) -> Course:
        """A new round with its journal, to which the load can switch."""
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
        """Close a round's journal, which is complete, and remove it if it is not needed any more."""
        self._begun.remove(course)
        course.book.close()
        if course is self._evidence:
            self.kept = course.book.path
        else:
            course.book.path.unlink(missing_ok=True)

    async def _all(self, course: Course, loads: Loads, fleet: Fleet) -> None:
        """Run rounds until all requested ones are done or a promise is broken."""
        began = time.monotonic()
        for number in count(self.asked.first):
            back = await self._provoke(number, course, loads, fleet)
            # The present primary counts for both rounds: the end of this one and the beginning of the next one.
            seen = await (self.session.snapshot() if back == NEVER else seen_with_primary(self.session))
            if back == NEVER:
                # There may be no primary to begin another round with: judge what there is.
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
        """Make and heal the faults of a round. Returns the seconds until the platform was healthy again."""
        self._say(f"round {number}: {course.scenario.title}", "progress")
        session, hit = self.session, victims(course.faults)
        provider, scene = session.provider, live.Scene(session.platform, hit, "", session.context.secrets)
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
        """The verdict from the round's journal, after adding to it what only the whole soak can tell."""
        judged = result(journal.read(course.book.path))
        late = stale(judged, judged.phases.healed + back)
        course.promise("reads are fresh again", not late, "; ".join(late))
        gone = await self._gone(course, judged)
        course.promise("rows of earlier rounds are still there", not gone, gone)
        judged = result(journal.read(course.book.path))
        course.book.append(judged.verdict)
        return judged

    async def _gone(self, course: Course, judged: Result) -> str:
        """The number of rows of earlier rounds that the table does not have any more, as text. Empty if there
        are none.
        """
        before, primary = self._counted, judged.history.primaries[-1].node
        try:
            [[rows]] = await self.session.sql(primary, f'SELECT count(*) FROM "{course.table}"')
        except (SqlError, Unreachable) as error:
            return f"they could not be counted: {error}"
        self._counted = int(rows)
        return f"{before} before, {rows} now" if int(rows) < before else ""

    def _count(self, number: int, course: Course, judged: Result, back: float) -> None:
        writes = judged.history.writes
        self._acknowledged |= {write.id for write in writes if write.outcome is WriteOutcome.ACKNOWLEDGED}
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
        """Look for every write that was acknowledged in any round in the table at the end."""
        seen = await seen_with_primary(self.session)
        primary = view_of(self.session, seen, "").primary
        rows = await self.session.sql(primary, f'SELECT id FROM "{table}"')
        self.missing = tuple(sorted(self._acknowledged - {row[0] for row in rows}))
        self.audited = True

    def _say(self, text: str, state: str) -> None:
        self.emit(Event("soak", state, text))

    def _failures(self, event: Event) -> None:
        """Pass on only failures from the events of a round, because a round is shown as one line."""
        if event.state == "failed":
            self.emit(event)


def _scenario(seed: int, number: int, faults: tuple[FaultModel, ...], session: Session) -> Scenario:
    settings = session.platform.settings
    return Scenario(
        name=f"soak-{seed}-{number}",
        title="; ".join(describe(fault) for fault in faults),
        promise="Nothing is lost, and the platform becomes healthy again by itself.",
        faults=faults,
        load=LOAD,
        expect=expectation(faults, session.platform, settings.budgets),
    )
