"""The soak: what it draws, what it expects of that, and how it ends, on a platform that is not there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tercet.converge.events import Event
from tercet.drills import journal
from tercet.drills.run import course, leftovers, loads
from tercet.drills.run.drill import DrillError
from tercet.drills.scenario.drawn import FIRST, on_nodes
from tercet.drills.scenario.fault import Facts, FaultModel, kinds
from tercet.drills.scenario.model import fault_of
from tercet.drills.soak import run as runner
from tercet.drills.soak.draw import compatible, describe, draw, sites_of, view_for
from tercet.drills.soak.rules import expectation, survived
from tercet.drills.soak.run import Asked, Soak, kinds_of
from tercet.drills.soak.summary import as_data, as_rows
from tercet.inventory.components import processes
from tercet.inventory.model import BudgetsModel
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tests.drills.run.test_drill import FakeSession, Load
from tests.drills.run.test_questions import snapshot as snapshot_with

ROUNDS = range(1, 401)
KINDS = tuple(kinds())


def test_a_round_is_drawn_from_seed_and_number_alone(platform: Platform) -> None:
    first = [draw(7, number, KINDS, platform) for number in ROUNDS]
    assert first == [draw(7, number, tuple(reversed(KINDS)), platform) for number in ROUNDS]
    assert first != [draw(8, number, KINDS, platform) for number in ROUNDS]


FIRST_KINDS: tuple[str, ...] = (
    "kill",
    "freeze",
    "cut_off",
    "cut",
    "cut_one_way",
    "flap",
    "loss",
    "latency",
    "crash",
    "terminate",
    "hang",
    "hang_loop",
    "hold_down",
    "fill_disk",
    "slow_disk",
    "switchover",
)


@pytest.mark.parametrize(
    ("seed", "kinds", "first", "all_rounds"),
    [
        (
            7,
            ("loss", "kill"),
            "kill the primary 7 s; loss 24 % site of the other standby 15 s after 4 s",
            "6c269467b7271c6a",
        ),
        (1, FIRST_KINDS, "switchover site of a standby 8 s", "052d7c5e04aee527"),
        (4711, FIRST_KINDS, "terminate consul on apps at site of the primary 4 s", "6cd1caef886943cb"),
        (
            20261128,
            FIRST_KINDS,
            "cut site of a standby and site of the primary 8 s; hang_loop the primary 17 s",
            "4d609881cfaa2ea5",
        ),
        (
            5,
            ("cut", "flap", "latency", "hang_loop"),
            "cut site of the other standby and site of a standby 3 s",
            "6715c5376597fcc2",
        ),
    ],
)
def test_a_known_seed_draws_what_it_always_drew(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    kinds: tuple[str, ...],
    first: str,
    all_rounds: str,
) -> None:
    """What was found once must be found again by a later version, too, as long as it has the same processes."""
    known = processes()
    monkeypatch.setattr("tercet.drills.scenario.drawn.processes", lambda: {name: known[name] for name in FIRST})
    rounds = ["; ".join(describe(fault) for fault in draw(seed, number, kinds, platform)) for number in ROUNDS]
    assert rounds[0] == first
    assert sha256("\n".join(rounds).encode()).hexdigest()[:16] == all_rounds


def test_everything_that_can_go_wrong_is_drawn(platform: Platform) -> None:
    rounds = [draw(seed, number, KINDS, platform) for seed in range(1, 11) for number in ROUNDS]
    faults = [fault for of_round in rounds for fault in of_round]
    assert {fault.kind for fault in faults} == set(KINDS)
    for kind in ("crash", "terminate", "hang", "hold_down"):
        assert {fault.targets[0] for fault in faults if fault.kind == kind} == set(on_nodes())
    assert 0.3 < sum(len(of_round) == 2 for of_round in rounds) / len(rounds) < 0.5
    assert {fault.percent for fault in faults if fault.kind == "loss"} >= {5, 30}


def test_every_round_can_be_made(platform: Platform) -> None:
    """Each target means something on the platform, and no two faults are in each other's way."""
    view, facts = view_for(platform), Facts("pgcat", "proposalsapp")
    for number in ROUNDS:
        faults = draw(3, number, KINDS, platform)
        for place, model in enumerate(faults, 1):
            assert model.fault(view, facts, place).title
        assert len(faults) == 1 or compatible(*faults, platform)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ({"kill": "the primary"}, {"crash": "patroni on the primary"}, False),
        ({"kill": "site of a standby"}, {"freeze": "a standby"}, False),
        ({"kill": "every standby"}, {"fill_disk": "the other standby"}, False),
        ({"kill": "a standby"}, {"crash": "patroni on the primary"}, True),
        ({"cut_off": "site of a standby"}, {"hang": "patroni on a standby"}, True),
        ({"cut_off": "site of a standby"}, {"cut": ("site of a standby", "site of the primary")}, False),
        ({"loss": "site of a standby"}, {"latency": "site of a standby"}, False),
        ({"loss": "site of a standby"}, {"latency": "site of the primary"}, True),
        ({"kill": "a standby"}, {"switchover": "site of the other standby"}, False),
        ({"switchover": "site of a standby"}, {"kill": "a standby"}, False),
        ({"switchover": "site of a standby"}, {"kill": "the primary"}, True),
    ],
)
def test_two_faults_are_in_each_others_way_or_not(
    platform: Platform, one: Mapping[str, Any], other: Mapping[str, Any], together: bool
) -> None:
    assert compatible(fault_of(**one), fault_of(**other), platform) is together


@pytest.mark.parametrize(
    ("faults", "goes_on"),
    [
        ([{"kill": "site of the primary"}], True),
        ([{"kill": "every standby"}], False),
        ([{"cut": ("site of the primary", "site of a standby")}], True),
        ([{"kill": "the primary"}, {"hold_down": "dcs on consul-nomad at site of the primary"}], True),
        ([{"kill": "the primary"}, {"hold_down": "dcs on consul-nomad at site of a standby"}], False),
        ([{"kill": "the primary"}, {"kill": "a standby"}], False),
        ([{"kill": "the primary"}, {"kill": "apps at site of a standby"}], True),
        ([{"loss": "site of a standby"}, {"crash": "postmaster on the primary"}], False),
        ([{"switchover": "site of a standby"}, {"kill": "the primary"}], True),
        ([{"loss": "site of a standby", "percent": 15}], True),
        ([{"loss": "site of a standby", "percent": 16}], False),
        ([{"latency": "site of a standby", "to": 0.15}, {"crash": "nomad on apps at site of a standby"}], True),
        ([{"latency": "site of a standby", "to": 0.3}], False),
    ],
)
def test_writes_must_go_on_where_two_sites_can_be_counted_on(
    platform: Platform, faults: list[dict[str, Any]], goes_on: bool
) -> None:
    models = [fault_of(**fault) for fault in faults]
    assert survived(models, platform) is goes_on
    expect = expectation(models, platform, BudgetsModel())
    assert (expect.writes != "unjudged") is goes_on
    assert expect.promises == ("standbys complete", "proxies follow the primary")


def test_each_of_two_faults_may_cost_a_failover_and_a_deaf_proxy_its_whole_time(platform: Platform) -> None:
    kill, deaf = fault_of(kill="the primary"), fault_of(hang="dcs on apps at site of a standby", lasts=12)
    budgets = BudgetsModel(primary_loss=7, site_loss=8, site_cut=6)
    assert expectation([kill], platform, budgets).writes == 8
    assert expectation([deaf], platform, budgets).writes == 8
    assert expectation([kill, deaf], platform, budgets).writes == 28


def test_what_an_apps_node_suffers_weakens_no_site(platform: Platform) -> None:
    assert sites_of(fault_of(kill="apps at site of the primary"), platform) == frozenset()
    assert sites_of(fault_of(kill="site of the primary"), platform) == {"sib-01"}


# --- a whole soak ----------------------------------------------------------------------------------------


class Kept(Load):
    """A load that goes from one round's journal to the next."""

    def turn(self, book: journal.Journal, began: float) -> dict[str, tuple[int, int]]:
        first, self.first = getattr(self, "first", 1), len(self.rows) + 1
        self.book, self.began = book, began
        self.succeeded = dict.fromkeys(self.succeeded, time.time() - began)
        return {f"{self.target.site}/writer": (first, len(self.rows))}


@dataclass
class Fake:
    session: FakeSession
    loads: list[Kept] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    lost: Callable[[], int] = lambda: 0
    """How many of the last rows are gone when a round's table is read."""


@pytest.fixture
def fake(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(FakeSession(platform))

    def load(target: Any, book: journal.Journal, began: float) -> Kept:
        made.loads.append(Kept(target, book, began))
        return made.loads[-1]

    async def tables(
        session: object, table: str, began: float, t: float, bounds: Mapping[str, tuple[int, int]]
    ) -> list[journal.Table]:
        gone = made.lost()
        found = []
        for one in made.loads:
            first, last = bounds[f"{one.target.site}/writer"]
            rows = tuple(row for row in one.rows if first <= row[0] <= last - gone)
            found += [
                journal.Table(t=t, node=node, writer=f"{one.target.site}/writer", rows=rows)
                for node in made.session.platform.databases
            ]
        return found

    async def nothing(*_: object) -> list[journal.Record]:
        return []

    async def no_clocks(*_: object) -> dict[str, object]:
        return {}

    async def sql(node: str, statement: str) -> list[list[str]]:
        made.session.statements.append(statement)
        if "count(*)" in statement:
            return [[str(sum(len(one.rows) for one in made.loads))]]
        if "SELECT id FROM" in statement:
            return [[row[1]] for one in made.loads for row in one.rows]
        return [["0/1"]] if "current_wal" in statement else [["f"]]

    async def ask(*_: object, **__: object) -> Any:
        from tercet.converge.component import Readings

        return Readings({})

    async def healthy(deadline: float, fleet: object = None, waiting: object = None) -> str:
        return ""

    made.session.sql = sql  # type: ignore[method-assign]
    made.session.healthy = healthy  # type: ignore[method-assign]
    made.session.provider.lacking = {Capability.SLOW_DISK: "this machine slows no disk"}
    monkeypatch.setattr(loads, "SiteLoad", load)
    monkeypatch.setattr(course, "tables", tables)
    monkeypatch.setattr(course, "component_records", nothing)
    monkeypatch.setattr(runner, "clocks", no_clocks)
    monkeypatch.setattr(runner, "OBSERVE_S", 0.1)
    monkeypatch.setattr(runner, "draw", drawn)
    monkeypatch.setattr(leftovers, "ask", ask)
    return made


def drawn(seed: int, number: int, kinds: tuple[str, ...], platform: Platform) -> tuple[FaultModel, ...]:
    """A short one, so that the test is."""
    return (fault_of(kill="a standby" if number % 2 else "the other standby", lasts=0.2),)


def soak(fake: Fake, folder: Path, rounds: int = 3, first: int = 1) -> Soak:
    asked = Asked(7, ("kill",), rounds, first=first)
    return Soak(fake.session, asked, folder / "journals", fake.events.append)  # type: ignore[arg-type]


def left_clean(fake: Fake) -> None:
    assert Counter(word.split()[0] for word in fake.session.provider.done).get("kill", 0) == Counter(
        word.split()[0] for word in fake.session.provider.done
    ).get("start", 0)
    assert "DROP TABLE" in fake.session.statements[-1]
    assert fake.loads and all(load.stopped for load in fake.loads)
    assert not fake.session.provider.locked


async def test_a_soak_keeps_its_load_over_all_rounds_and_leaves_no_journal(fake: Fake, tmp_path: Path) -> None:
    made = soak(fake, tmp_path)
    await made.run("a test")
    assert made.summary.passed, made.summary
    assert [one.number for one in made.rounds] == [1, 2, 3]
    assert all(one.acknowledged > 0 and one.lost == 0 for one in made.rounds)
    assert [load.starts for load in fake.loads] == [1, 1, 1]
    left_clean(fake)
    assert list((tmp_path / "journals").iterdir()) == [] and made.kept is None
    done = [event.text for event in fake.events if event.state == "done"]
    assert len(done) == 3 and done[0].startswith("round 1: kill a standby 0.2 s: gap 0.0 s, healthy after ")
    data = as_data(made.summary)
    assert data["passed"] is True and data["lost"] == 0
    assert [row[:2] for row in as_rows(made.summary)] == [("kill", "3"), ("all", "3")]


async def test_the_first_lost_write_ends_it_and_its_journal_stays(fake: Fake, tmp_path: Path) -> None:
    reads = 0

    def lost() -> int:
        nonlocal reads
        reads += 1
        return 1 if reads == 2 else 0

    fake.lost = lost
    made = soak(fake, tmp_path, rounds=5)
    await made.run("a test")
    assert not made.summary.passed
    assert [one.passed for one in made.rounds] == [True, False]
    assert made.rounds[-1].lost == 3 and "acknowledged writes lost" in made.rounds[-1].reasons[0]
    left_clean(fake)
    (book,) = (tmp_path / "journals").iterdir()
    assert book == made.kept and book.name.startswith("soak-7-2-")
    assert isinstance(journal.read(book)[-1], journal.Verdict)


def platform_without_primary() -> object:
    seen = snapshot_with("db-sib-01")
    return seen.model_copy(update={"postgres": seen.postgres.model_copy(update={"primary": None})})


async def test_a_primary_that_one_look_misses_ends_nothing(fake: Fake, tmp_path: Path) -> None:
    """Patroni answers no look in time while the whole machine stands still for a moment."""
    seen = await fake.session.snapshot()
    answers = [platform_without_primary(), seen] * 3

    async def snapshot() -> object:
        return answers.pop(0) if answers else seen

    fake.session.snapshot = snapshot  # type: ignore[method-assign]
    made = soak(fake, tmp_path)
    await made.run("a test")
    assert made.summary.broken is None and made.audited and not answers


async def test_a_platform_that_stays_ill_ends_it(fake: Fake, tmp_path: Path) -> None:
    looks = 0

    async def healthy(deadline: float, fleet: object = None, waiting: object = None) -> str:
        nonlocal looks
        looks += 1
        return "" if looks == 1 else "patroni: db-sib-03 does not stream"

    async def snapshot() -> object:
        seen = platform_without_primary() if looks > 1 else whole
        return seen

    whole = await fake.session.snapshot()
    fake.session.healthy = healthy  # type: ignore[method-assign]
    fake.session.snapshot = snapshot  # type: ignore[method-assign]
    made = soak(fake, tmp_path)
    await made.run("a test")
    (only,) = made.rounds
    assert only.acknowledged > 0 and only.lost == 0
    assert only.reasons == ("broken: healthy again (patroni: db-sib-03 does not stream)",)
    assert as_data(made.summary)["kinds"]["kill"]["worst_back_to_health_s"] is None  # type: ignore[index]
    left_clean(fake)


async def test_a_write_that_goes_after_its_round_is_missed_in_the_end(fake: Fake, tmp_path: Path) -> None:
    made = soak(fake, tmp_path, rounds=1)
    made._acknowledged.add("sib-01-of-an-earlier-round")
    await made.run("a test")
    assert made.missing == ("sib-01-of-an-earlier-round",)
    assert not made.summary.passed and made.summary.lost == 1


async def test_one_round_is_run_again_by_its_number(fake: Fake, tmp_path: Path) -> None:
    made = soak(fake, tmp_path, rounds=1, first=4)
    await made.run("a test")
    assert [(one.number, one.title) for one in made.rounds] == [(4, "kill the other standby 0.2 s")]


@pytest.mark.parametrize("moment", ["round 1: ", "round 2: "])
async def test_wherever_it_is_interrupted_all_is_healed_and_nothing_judged_half(
    fake: Fake, tmp_path: Path, moment: str
) -> None:
    made = soak(fake, tmp_path)
    task = asyncio.create_task(made.run("a test"))
    async with asyncio.timeout(60):
        while not any(event.text.startswith(moment) and event.state == "progress" for event in fake.events):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)  # amid the fault
    for _ in range(3):  # an impatient operator
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.number for one in made.rounds] == ([] if moment == "round 1: " else [1])
    assert list((tmp_path / "journals").iterdir()) == []
    assert not made.summary.passed
    left_clean(fake)


async def test_kinds_that_are_impossible_are_left_out_or_refused(fake: Fake) -> None:
    kinds = await kinds_of(fake.session, ())  # type: ignore[arg-type]
    assert {"kill", "crash", "fill_disk"} < set(kinds) and "slow_disk" not in kinds
    with pytest.raises(DrillError, match=r"slow_disk is impossible here: this machine slows no disk"):
        await kinds_of(fake.session, ("kill", "slow_disk"))  # type: ignore[arg-type]
