"""A whole drill on a platform that is not there: what is left behind, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tercet.components.context import Context
from tercet.converge.component import Condition, Passing, Readings, State
from tercet.converge.events import Event
from tercet.converge.fleet import Completed
from tercet.converge.requests import Answer, Http
from tercet.drills import journal
from tercet.drills.expect import ExpectModel
from tercet.drills.judge.verdict import Result, result
from tercet.drills.run import course, leftovers, live, loads
from tercet.drills.run import drill as runner
from tercet.drills.run.drill import DrillError, run
from tercet.drills.run.healing import HealingError, ImpossibleError
from tercet.drills.run.leftovers import sweep
from tercet.drills.run.load import LoadError
from tercet.drills.scenario.model import LoadModel, Scenario, fault_of
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tercet.inventory.secrets import peek
from tercet.inventory.timing import timing_of
from tercet.session.session import SqlError
from tests.drills.conftest import Server
from tests.drills.run.test_healing import World
from tests.drills.run.test_questions import snapshot
from tests.drills.sample import RUNNING

PRIMARY = "db-sib-01"


@dataclass
class Provider(World):
    locked: bool = False

    @property
    def faults(self) -> Provider:
        return self

    @contextlib.asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        self.locked = True
        try:
            yield
        finally:
            self.locked = False


@dataclass
class FakeSession:
    """What a drill asks of a platform, answered at once; `sql_fails` decides which statement fails."""

    platform: Platform
    provider: Provider = field(default_factory=Provider)
    statements: list[str] = field(default_factory=list)
    sql_fails: Callable[[str], bool] = lambda _statement: False

    @property
    def context(self) -> Context:
        return Context(self.platform, peek(Path("absent")), timing_of(self.platform.settings), (), "pgcat")

    async def healthy(self, deadline: float, fleet: object = None, waiting: object = None) -> str:
        return ""

    async def snapshot(self) -> object:
        return snapshot(PRIMARY)

    async def sql(self, node: str, statement: str) -> list[list[str]]:
        self.statements.append(statement)
        if self.sql_fails(statement):
            raise SqlError(f"SQL on {node}: the database is gone")
        return [["0/1"]] if "current_wal" in statement else [["f"]]

    def count(self, word: str) -> int:
        return len([statement for statement in self.statements if word in statement])


@dataclass
class Load:
    """The load of a site that always gets through."""

    target: Any
    book: journal.Journal
    began: float
    succeeded: dict[str, float] = field(default_factory=dict)
    starts: int = 0
    stopped: bool = False
    rows: list[tuple[int, str, float]] = field(default_factory=list)

    async def start(self, fleet: object, settings: object, seconds: float) -> None:
        self.starts += 1

    async def follow(self) -> None:
        while not self.stopped:
            now, seq, site = time.time() - self.began, len(self.rows) + 1, self.target.site
            base: dict[str, Any] = {
                "site": site,
                "worker": "writer",
                "writer": f"{site}/writer",
                "seq": seq,
                "id": f"{site}-{seq}",
                "scheduled": now,
            }
            self.book.append(journal.Attempt(t=now, **base))
            self.book.append(journal.Acknowledged(t=now, node=PRIMARY, **base))
            self.book.append(
                journal.Read(
                    t=now, site=site, worker="reader", scheduled=now, sent=now, node=f"db-{site}", seen={}
                )
            )  # fmt: skip
            self.rows.append((seq, f"{site}-{seq}", now))
            self.succeeded = {"writer": now, "reader": now}
            await asyncio.sleep(0.02)
        self.book.append(journal.Ended(t=time.time() - self.began, site=self.target.site, reason="stopped"))

    async def stop(self) -> None:
        self.stopped = True


@dataclass
class Fake:
    session: FakeSession
    loads: list[Load] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@pytest.fixture
def fake(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(FakeSession(platform))

    def load(target: Any, book: journal.Journal, began: float) -> Load:
        made.loads.append(Load(target, book, began))
        return made.loads[-1]

    async def tables(session: object, table: str, began: float, t: float, bounds: object) -> list[journal.Table]:
        return [
            journal.Table(t=t, node=node, writer=f"{load.target.site}/writer", rows=tuple(load.rows))
            for node in made.session.platform.databases
            for load in made.loads
        ]

    async def nothing(*_: object) -> list[journal.Record]:
        return []

    async def numbers(*_: object) -> object:
        return RUNNING

    async def no_clocks(*_: object) -> dict[str, object]:
        return {}

    async def ask(fleet: object, questions: Mapping[str, Mapping[str, object]], *, timeout: float) -> Readings:
        return Readings({})

    monkeypatch.setattr(loads, "SiteLoad", load)
    monkeypatch.setattr(course, "tables", tables)
    monkeypatch.setattr(course, "component_records", nothing)
    monkeypatch.setattr(runner, "running", numbers)
    monkeypatch.setattr(runner, "clocks", no_clocks)
    monkeypatch.setattr(leftovers, "ask", ask)
    return made


def scenario(**fault: Any) -> Scenario:
    return Scenario(
        name="standby-killed",
        title="A standby dies",
        promise="Nobody notices.",
        faults=(fault_of(**(fault or {"kill": "a standby"}), lasts=0.3),),
        warm_up=0.1,
        observe=0.1,
        expect=ExpectModel(reads="unjudged", healing="unjudged"),
    )


async def drill(fake: Fake, folder: Path, asked: Scenario | None = None, site: str = "") -> Result:
    return await run(
        asked or scenario(),
        fake.session,  # type: ignore[arg-type]
        site=site,
        folder=folder / "journals",
        who="a test",
        emit=fake.events.append,
    )


def left_clean(fake: Fake) -> None:
    """Healed, swept at both ends, no load, no lock."""
    provider = fake.session.provider
    assert [word.split()[0] for word in provider.done] in ([], ["kill", "start"])
    assert fake.session.count("DROP TABLE") == 2 * len(fake.session.platform.databases)
    assert "DROP TABLE" in fake.session.statements[-1]
    assert all(load.stopped for load in fake.loads)
    assert not provider.locked


async def test_a_drill_leaves_nothing_but_its_journal(fake: Fake, tmp_path: Path) -> None:
    judged = await drill(fake, tmp_path)
    assert judged.passed, judged.reasons
    assert judged.findings.acknowledged > 0
    left_clean(fake)
    assert fake.session.provider.done == ["kill db-sib-03 30.3", "start db-sib-03"]
    (book,) = (tmp_path / "journals").iterdir()
    assert isinstance(journal.read(book)[-1], journal.Verdict)


async def test_the_journal_alone_gives_the_same_verdict_again(fake: Fake, tmp_path: Path) -> None:
    """Whatever the inventory's budgets are by then."""
    settings = fake.session.platform.settings
    strict = settings.model_copy(update={"budgets": settings.budgets.model_copy(update={"reads": 0.001})})
    fake.session.platform = replace(fake.session.platform, settings=strict)
    asked = scenario()
    expect = ExpectModel(healing="unjudged", failovers=1, promises=("standbys complete", "local reads go on"))
    judged = await drill(fake, tmp_path, asked.model_copy(update={"expect": expect}))
    (book,) = (tmp_path / "journals").iterdir()
    again = result(journal.read(book))
    assert again == judged
    assert [reason.partition(" (")[0] for reason in again.reasons] == [
        "broken: local reads go on",
        "0 changes of the primary, expected 1",
    ]
    assert again.began.budgets.reads == 0.001


@pytest.mark.parametrize("moment", ["load from", "db-sib-03 killed", "healing:", "healed;", "collecting"])
async def test_wherever_it_is_interrupted_all_is_healed_and_swept(fake: Fake, tmp_path: Path, moment: str) -> None:
    task = asyncio.create_task(drill(fake, tmp_path))
    async with asyncio.timeout(60):
        while not any(event.text.startswith(moment) for event in fake.events):
            await asyncio.sleep(0.001)
    for _ in range(3):  # an impatient operator
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    left_clean(fake)


async def test_a_healing_that_fails_is_told_and_ends_the_drill(fake: Fake, tmp_path: Path) -> None:
    fake.session.provider.fail_at = 1
    fake.session.provider.error = OSError(28, "No space left on device")
    with pytest.raises(HealingError, match="No space left"):
        await drill(fake, tmp_path)
    (told,) = [event for event in fake.events if event.state == "failed"]
    assert told.text.startswith("db-sib-03 killed is not healed: OSError")
    assert fake.session.count("DROP TABLE") == 6


async def test_a_primary_without_sql_at_the_end_costs_no_verdict(fake: Fake, tmp_path: Path) -> None:
    asked = 0

    def fails(statement: str) -> bool:
        nonlocal asked
        asked += "current_wal" in statement
        return "current_wal" in statement and asked > 1  # the first one is asked before the faults

    fake.session.sql_fails = fails
    assert (await drill(fake, tmp_path)).findings.acknowledged > 0
    assert asked == 2


async def test_a_load_that_starts_when_the_drill_is_over_is_stopped(fake: Fake, tmp_path: Path) -> None:
    load = Load(None, None, 0.0)  # type: ignore[arg-type]
    all_sites = loads.Loads(fake.session, "drill", LoadModel(), 60.0)  # type: ignore[arg-type]

    async def start(*_: object) -> None:
        if load.starts == 0:
            load.starts += 1
            raise LoadError("the node is not back yet")
        all_sites._over = True  # meanwhile

    async def follow() -> None:
        assert load.stopped == all_sites._over

    load.start, load.follow = start, follow  # type: ignore[assignment, method-assign]
    await all_sites._keep(load)  # type: ignore[arg-type]
    assert load.stopped


async def test_a_fault_that_is_impossible_here_is_refused_before_anything_is_made(fake: Fake, tmp_path: Path) -> None:
    async def refuse(*_: object, **__: object) -> Completed:
        return Completed(3, b"", b"its data lies on overlayfs\n")

    fake.session.provider.run = refuse  # type: ignore[method-assign]
    with pytest.raises(ImpossibleError, match="its data lies on overlayfs"):
        await drill(fake, tmp_path, scenario(fill_disk="the primary"))
    assert fake.session.statements == [] and fake.loads == []


@pytest.mark.parametrize("budget", [30.0, 0.001])
async def test_a_promise_says_itself_that_it_needs_a_job_and_a_budget(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    settings = fake.session.platform.settings
    budgets = settings.budgets.model_copy(update={"reschedule": budget})
    fake.session.platform = replace(fake.session.platform, settings=settings.model_copy(update={"budgets": budgets}))
    put: list[str] = []

    async def ask(fleet: object, questions: Mapping[str, Mapping[str, Http]], *, timeout: float) -> Readings:
        put.extend(one.path for batch in questions.values() for one in batch.values())
        return Readings({node: dict.fromkeys(batch, Answer(200, "{}")) for node, batch in questions.items()})

    async def wait_for(conditions: list[Condition], *_: object, **__: object) -> list[tuple[Condition, State]]:
        await asyncio.sleep(0.01)
        return [(condition, Passing("seen")) for condition in conditions]

    def look(scene: live.Scene) -> live.Look:
        return lambda _: Passing(), {}

    monkeypatch.setattr(runner, "ask", ask)
    monkeypatch.setattr(runner, "wait_for", wait_for)
    monkeypatch.setattr(course, "wait_for", wait_for)
    monkeypatch.setattr(live.OBSERVED, "_promised", {"jobs move": live.ObservedPromise(look, "reschedule", job=True)})
    expect = scenario().expect.model_copy(update={"promises": ("jobs move",)})
    asked = scenario(kill="site of a standby").model_copy(update={"expect": expect})
    judged = await drill(fake, tmp_path, asked)
    assert put == ["/v1/jobs"]
    assert [(one.name, one.held) for one in judged.promises] == [("jobs move", budget > 1)]


async def test_what_the_machine_lacks_is_said_before_anything_is_made(fake: Fake, tmp_path: Path) -> None:
    fake.session.provider.lacking = {Capability.SLOW_DISK: "this machine slows no disk"}
    said = "standby-killed cannot be run here. It needs slow-disk: this machine slows no disk"
    with pytest.raises(DrillError, match=f"^{said}$"):
        await drill(fake, tmp_path, scenario(slow_disk="the primary"))
    assert fake.session.provider.tried == [] and not (tmp_path / "journals").exists()


async def test_a_site_that_would_be_ignored_is_refused(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(DrillError, match=r"about site of the primary\. Leave --site out"):
        await drill(fake, tmp_path, scenario(kill="site of the primary"), "fsn-01")
    assert fake.events == [] and not (tmp_path / "journals").exists()
    await drill(fake, tmp_path, scenario(kill="site of a standby"), "fsn-01")
    assert fake.session.provider.done[-1] == "start consul-nomad-fsn-01,apps-fsn-01,db-fsn-01"


async def test_the_jobs_of_all_drills_are_purged(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    async def ask(fleet: object, questions: Mapping[str, Mapping[str, Http]], *, timeout: float) -> Readings:
        asked.extend((one.method, one.path) for batch in questions.values() for one in batch.values())
        jobs = {"jobs": Answer(200, '[{"ID": "tercet-drill-1a"}, {"ID": "tercet-drill-2b"}]')}
        return Readings({"consul-nomad-sib-03": jobs})  # the first control node is dead

    monkeypatch.setattr(leftovers, "ask", ask)
    await sweep(fake.session)  # type: ignore[arg-type]
    assert all(path == "/v1/jobs?prefix=tercet-drill-" for _, path in asked[:3])
    assert [(method, path.removeprefix("/v1/")) for method, path in asked[3:]] == [
        ("DELETE", "job/tercet-drill-1a?purge=true"),
        ("DELETE", "job/tercet-drill-2b?purge=true"),
    ]


def test_the_tables_of_all_drills_are_dropped_even_from_a_read_only_primary(server: Server) -> None:
    """The statements themselves, on a real PostgreSQL, as `Session.sql` sends them."""

    def psql(script: str) -> None:
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", server.conninfo]
        subprocess.run(argv, input=script, check=True, capture_output=True, text=True, timeout=60)

    names = ("tercet_drill_17", "tercet_drill_18", "tercet_drill_mine")
    psql("".join(f"CREATE TABLE {name} (n int);\n" for name in names))
    psql("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        psql(leftovers._DROP)
        left = server.sql("SELECT tablename FROM pg_tables WHERE tablename LIKE 'tercet_drill%'")
    finally:
        writable = "SET default_transaction_read_only = off;\n"
        psql(f"{writable}ALTER DATABASE postgres RESET ALL;\nDROP TABLE tercet_drill_mine")
    assert left == [["tercet_drill_mine"]]
