"""The verdict: what is judged, what is not, and that nothing that was demanded is passed over in silence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tercet.drills import journal
from tercet.drills.expect import ExpectModel
from tercet.drills.judge.case import phases_of
from tercet.drills.judge.verdict import Repeated, Result, result
from tercet.drills.scenario.file import built_in
from tercet.drills.scenario.model import Scenario
from tercet.inventory.journals import What
from tercet.inventory.model import BudgetsModel

from ..sample import ADDRESS, Drill, judge

SCENARIO = built_in()["site-killed"]
Edit = Callable[[list[journal.AnyEntry]], list[journal.AnyEntry]]


@cache
def told() -> tuple[journal.AnyEntry, ...]:
    return tuple(Drill().entries())


def judged(
    drill: Drill | None = None, edit: Edit = list, budgets: BudgetsModel | None = None, **expect: object
) -> Result:
    scenario = SCENARIO
    if expect:
        merged = {**SCENARIO.expect.model_dump(), **expect}
        scenario = Scenario(**{**dict(SCENARIO), "expect": ExpectModel(**merged)})
    entries = drill.entries() if drill else list(told())
    return judge(edit(entries), scenario, budgets)


def test_a_good_drill_passes_with_its_figure() -> None:
    one = judged()
    assert one.reasons == ()
    assert one.passed
    assert one.unavailable == pytest.approx(4.0, abs=0.5)
    assert one.down == {"sib-01"}
    assert one.failovers == 1
    assert {promise.name: promise.held for promise in one.promises} == dict.fromkeys(SCENARIO.expect.promises, True)
    assert {chain.site for chain in one.chains} == {"sib-03", "fsn-01"}
    assert all(chain.costliest.title == "failure seen by gossip" for chain in one.chains)
    assert [link.title for link in one.chains[1].links] == [
        "failure seen by gossip",
        "session gone",
        "members asked",
        "leader key taken",
        "promoted",
        "check passing",
        "template rendered",
        "proxy ready",
        "first acknowledged write",
    ]


def test_a_budget_that_is_broken_is_named_with_both_figures() -> None:
    one = judged(budgets=BudgetsModel(site_loss=2))
    assert [reason.partition(":")[0] for reason in one.reasons] == ["writes", "transactions"]
    assert all("budget 2 s" in reason for reason in one.reasons)
    assert not one.passed


def test_an_unjudged_figure_is_reported_and_breaks_nothing() -> None:
    one = judged(budgets=BudgetsModel(site_loss=2), writes="unjudged")
    assert one.passed
    assert one.unavailable > 2


def test_a_lost_write_fails_the_drill_whatever_the_scenario_says() -> None:
    def lose(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        return [
            entry.model_copy(update={"rows": entry.rows[:5] + entry.rows[6:]})
            if isinstance(entry, journal.Table) and entry.writer == "fsn-01/writer" and entry.node == "db-sib-03"
            else entry
            for entry in entries
        ]

    one = judged(edit=lose, promises=())
    assert one.reasons == ("1 acknowledged writes lost",)
    assert [write.writer for write in one.findings.lost] == ["fsn-01/writer"]


def test_a_load_that_ends_without_recovery_breaks_the_budget() -> None:
    def cut(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        return [
            entry
            for entry in entries
            if not (isinstance(entry, journal.Acknowledged) and entry.site == "fsn-01" and entry.t > 8)
        ] + [
            journal.Failed(t=t, site="fsn-01", worker="writer", scheduled=t, stage="connect", message="refused")
            for t in (40.0, 57.0)
        ]

    one = judged(edit=cut)
    assert any("no end without" in reason and "at fsn-01" in reason for reason in one.reasons)


def test_a_spared_site_whose_load_is_lost_is_no_success() -> None:
    def lose(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        kept = [entry for entry in entries if getattr(entry, "site", "") != "fsn-01" or entry.t < 9]
        return [*kept, journal.Ended(t=9, site="fsn-01", reason="lost")]

    reasons = judged(edit=lose, promises=()).reasons
    assert "the load at fsn-01 was lost after 9.0 s, although no fault was meant to end it" in reasons
    assert "no write was acknowledged at fsn-01 from the healing on" in reasons


def without(kind: type[journal.Entry], start: float, end: float) -> Edit:
    """What the hit site's applications had answered from `start` to `end` is not answered."""

    def edit(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        changed: list[journal.AnyEntry] = []
        for entry in entries:
            if isinstance(entry, kind) and start < entry.t < end and getattr(entry, "site", "") == "sib-01":
                names = ("t", "site", "worker", "scheduled", "writer", "seq", "id")
                base = {name: getattr(entry, name) for name in names if hasattr(entry, name)}
                other = journal.Unknown if isinstance(entry, journal.Acknowledged) else journal.Failed
                changed.append(other(**base, stage="statement", message="no answer"))
            else:
                changed.append(entry)
        return changed

    return edit


def test_a_hit_site_is_judged_again_once_all_is_healthy() -> None:
    assert judged(edit=without(journal.Acknowledged, 46, 50), promises=()).passed, "not before"
    writes = judged(edit=without(journal.Acknowledged, 51, 56), promises=()).reasons
    assert [reason.partition(":")[0] for reason in writes] == ["healing"]
    reads = judged(edit=without(journal.Read, 51, 57), promises=()).reasons
    assert [reason.partition(":")[0] for reason in reads] == ["reads"]
    never = judged(edit=without(journal.Acknowledged, 38, 99), promises=()).reasons
    assert "no write was acknowledged at sib-01 from the healing on" in never
    slow = journal.Promise(t=54, name="healthy again", held=True)
    late = judged(edit=lambda entries: [*without(journal.Acknowledged, 51, 56)(entries), slow], promises=())
    assert late.passed, "the platform was not healthy before"


def test_the_reads_of_a_hit_site_come_home_again() -> None:
    def elsewhere(start: float) -> Edit:
        return lambda entries: [
            entry.model_copy(update={"node": ADDRESS["db-fsn-01"]})
            if isinstance(entry, journal.Read) and entry.site == "sib-01" and entry.t > start
            else entry
            for entry in entries
        ]

    assert judged(edit=lambda entries: elsewhere(40)(entries)[:-1], promises=()).findings.misrouted
    found = judged(edit=elsewhere(40), promises=()).findings.misrouted
    assert min(one.t for one in found) > 50
    assert {one.expected for one in found} == {("db-sib-01",)}
    told = judged(edit=elsewhere(40), promises=()).reasons
    assert any(f"a read at sib-01 after {found[0].t:.1f} s, by db-fsn-01 instead of db-sib-01" in said for said in told)


def test_a_transaction_that_is_not_wholly_the_primarys_fails_the_drill_unless_that_is_known_of_the_proxy() -> None:
    def split(deviation: str) -> Edit:
        return lambda entries: [
            entry.model_copy(update={"first_node": ADDRESS["db-fsn-01"]})
            if isinstance(entry, journal.Acknowledged) and entry.worker == "transactions"
            else entry.model_copy(update={"deviation": deviation})
            if isinstance(entry, journal.Began)
            else entry
            for entry in entries
        ]

    broken = judged(edit=split(""), promises=())
    assert not broken.passed and "first read another node answered" in broken.reasons[0]
    known = judged(edit=split("the proxy cannot"), promises=())
    assert known.passed and known.findings.split, "shown all the same"


def test_faults_one_after_another_heal_when_the_last_one_does() -> None:
    def fault(t: float, action: str, name: str) -> journal.Fault:
        return journal.Fault.model_validate({"t": t, "action": action, "fault": name})

    def told_of(*moments: tuple[float, float]) -> tuple[float, float]:
        faults = [
            fault(t, action, str(number))
            for number, (start, end) in enumerate(moments)
            for t, action in ((start, "injecting"), (start + 1, "injected"), (end, "healing"), (end + 1, "healed"))
        ]
        phases = phases_of(sorted(faults, key=lambda one: one.t), 99)
        return phases.healing, phases.healed

    assert told_of((5, 20)) == (20, 21)
    assert told_of((5, 10), (20, 30)) == (30, 31)
    assert told_of((5, 40), (10, 30)) == (30, 41), "the earlier one lasts longer"
    assert (phases_of([], 99).injecting, phases_of([], 99).healing) == (99, 99)


def test_an_outage_after_the_healing_is_judged_by_its_own_budget() -> None:
    def break_again(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        changed: list[journal.AnyEntry] = []
        for entry in entries:
            late = isinstance(entry, journal.Acknowledged) and 45 < entry.t < 50 and entry.site == "sib-03"
            if late and isinstance(entry, journal.Acknowledged):
                base = {
                    name: getattr(entry, name) for name in ("t", "site", "worker", "scheduled", "writer", "seq", "id")
                }
                changed.append(journal.Unknown(**base, stage="commit", message="lost"))
            else:
                changed.append(entry)
        return changed

    one = judged(edit=break_again)
    assert [reason.partition(":")[0] for reason in one.reasons] == ["healing"]
    assert judged(edit=break_again, healing=6.0).passed


def test_the_number_of_failovers_is_judged() -> None:
    def flap(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        return [*entries, journal.Primary(t=40, node="db-fsn-01"), journal.Primary(t=41, node="db-sib-03")]

    assert judged(edit=flap).failovers == 3
    assert "3 changes of the primary, expected 1" in judged(edit=flap).reasons


def test_a_promise_that_nobody_looked_at_is_broken() -> None:
    def forget(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        return [entry for entry in entries if not isinstance(entry, journal.Promise)]

    reasons = judged(edit=forget).reasons
    assert "broken: nomad keeps a leader (it was not looked at)" in reasons
    assert len(reasons) == 3


def old_primary_answers(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    base = {"site": "sib-01", "worker": "writer", "writer": "sib-01/writer", "seq": 9000, "id": "x", "scheduled": 9}
    return [
        *entries,
        journal.Attempt(t=9, **base),
        journal.Acknowledged(t=9.1, **base, node=ADDRESS["db-sib-01"]),
    ]


def standby_lacks(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    return [
        e
        for e in entries
        if not (isinstance(e, journal.Table) and e.node == "db-fsn-01" and e.writer == "sib-03/writer")
    ]


def standby_unread(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    return [e for e in entries if not (isinstance(e, journal.Table) and e.node == "db-fsn-01")]


def tried(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    """An application at the hit site went on and was refused."""
    base = {"site": "sib-01", "worker": "writer", "writer": "sib-01/writer", "seq": 8000, "id": "t", "scheduled": 9}
    return [
        *entries,
        journal.Attempt(t=9, **base),
        journal.Failed(t=9.1, **base, stage="connect", message="no"),
    ]


def mute(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    return [e for e in entries if not (isinstance(e, journal.Record) and e.node == "db-sib-01")]


def rebuilt(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    text = "replica has been created using basebackup"
    record = journal.Record(t=50, node="db-sib-01", component="patroni", what=What.REBUILT, text=text)
    return [*entries, record]


def stays_on_another(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    return [*entries, journal.Primary(t=57.9, node="db-fsn-01")]


def led(*ways: str) -> Edit:
    """After the healing at 38 s, the returned site's routes lead its writes to these nodes in turn."""

    def edit(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        base = {"node": "apps-sib-01", "component": "proxy", "text": "198.18.0.1"}
        return [
            *tried(entries),
            *(
                journal.Record(t=40 + turn, **base, what=What.PROXY_READY, subject=ADDRESS[to])
                for turn, to in enumerate(ways)
            ),
        ]

    return edit


def reads_stop(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    kept = [e for e in entries if not (isinstance(e, journal.Read) and e.site == "fsn-01" and 10 < e.t < 20)]
    failed = journal.Failed(t=12, site="fsn-01", worker="reader", scheduled=10.1, stage="statement", message="no")
    return [*kept, failed]


def reads_leave(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
    base = {"site": "sib-01", "worker": "reader", "node": ADDRESS["db-fsn-01"], "seen": {}}
    return [*entries, journal.Read(t=15, scheduled=14.9, sent=14.9, **base)]


@pytest.mark.parametrize(
    ("promise", "edit", "said"),
    [
        ("old primary acknowledges nothing", old_primary_answers, "db-sib-01 acknowledged 1 writes"),
        ("old primary acknowledges nothing", list, "no application tried to write at sib-01"),
        ("rejoined without rebuild", mute, "nothing is known of db-sib-01"),
        ("standbys complete", standby_lacks, "db-fsn-01 lacks"),
        ("standbys complete", standby_unread, "db-fsn-01 could not be read"),
        ("rejoined without rebuild", rebuilt, "db-sib-01 copied all data again"),
        ("proxies follow the primary", stays_on_another, "sib-03: db-sib-03"),
        (
            "proxies stay with the new primary",
            led("db-sib-01", "db-sib-03", "db-sib-01", "db-sib-03"),
            "apps-sib-01 left db-sib-03 for db-sib-01 4.0 s after the healing",
        ),
        ("reads go on everywhere", reads_stop, "no read at fsn-01 for 10.1 s"),
        ("reads stay at the site", reads_leave, "reads were answered elsewhere, from"),
    ],
)
def test_a_broken_promise_is_found(promise: str, edit: Edit, said: str) -> None:
    before = judged(edit=tried, promises=(promise,), reads="unjudged")
    after = judged(edit=edit, promises=(promise,), reads="unjudged")
    assert before.promises[0].held, before.promises[0].detail
    assert not after.promises[0].held
    assert said in after.promises[0].detail


def test_a_proxy_may_leave_a_primary_that_is_silent() -> None:
    base = {"node": "apps-sib-01", "component": "proxy", "text": "x", "subject": ADDRESS["db-sib-03"]}
    ways = led("db-sib-01", "db-sib-03", "db-sib-01", "db-sib-03")

    def silent(entries: list[journal.AnyEntry]) -> list[journal.AnyEntry]:
        return [
            *ways(entries),
            journal.Record(t=41.9, **base, what=What.GUARDED),
            journal.Record(t=42.9, **base, what=What.ANSWERS),
        ]

    promise = "proxies stay with the new primary"
    assert judged(edit=silent, promises=(promise,), reads="unjudged").promises[0].held


def strict(sqlstates: list[str], *, acknowledged: bool = False) -> list[journal.AnyEntry]:
    """Both standbys lost from 5 to 30; refusals from 8 on with these SQLSTATEs in turn; writable at 33."""
    fault = {"fault": "db-a, db-b killed", "nodes": ("db-a", "db-b")}
    entries: list[journal.AnyEntry] = [
        told()[0],
        journal.Primary(t=0, node="db-sib-01"),
        journal.Fault(t=4.9, action="injecting", **fault),
        journal.Fault(t=5, action="injected", **fault),
        journal.Fault(t=30, action="healing", **fault),
        journal.Fault(t=31, action="healed", **fault),
        journal.Record(t=32, node="db-sib-03", component="postgresql", what=What.STREAMING, text="streams"),
    ]
    seq = 0
    for tick in range(400):
        at, seq = tick / 10, seq + 1
        base = {"site": "sib-01", "worker": "writer", "writer": "w", "seq": seq, "id": str(seq), "scheduled": at}
        if at < 5 or at >= 33 or (acknowledged and at == 20):
            entries.append(journal.Acknowledged(t=at + 0.01, **base, node=ADDRESS["db-sib-01"]))
        elif at >= 8:
            state = sqlstates[tick % len(sqlstates)]
            entries.append(journal.Failed(t=at + 0.02, **base, stage="commit", sqlstate=state, message="no"))
    return entries


def strict_promises(entries: list[journal.AnyEntry]) -> dict[str, journal.Promise]:
    scenario = built_in()["standbys-lost"]
    return {promise.name: promise for promise in judge(entries, scenario).promises}


def test_strict_mode_is_judged() -> None:
    kept = strict_promises(strict(["25006"]))
    assert kept["writes refused with 25006"].held
    again = "first write 1.0 s after a standby streamed again, at sib-01, the slowest site"
    assert kept["writable again by itself"].detail == again
    assert kept["writable again by itself"].held
    mixed = strict_promises(strict(["25006", "08006"]))["writes refused with 25006"]
    assert (mixed.held, mixed.detail) == (False, "writes failed with SQLSTATE 08006 too")
    false = strict_promises(strict(["25006"], acknowledged=True))["writes refused with 25006"]
    assert (false.held, false.detail) == (False, "1 writes were acknowledged without a standby")


def test_the_figure_of_strict_mode_is_the_time_until_the_refusal() -> None:
    scenario = built_in()["standbys-lost"]
    one = judge(strict(["25006"]), scenario)
    assert one.main == "refused"
    assert one.unavailable == pytest.approx(8.02 - 4.9)
    never = judge(strict(["08006"]), scenario)
    assert any("no write was refused with 25006 at sib-01" in reason for reason in never.reasons)
    other = [
        entry.model_copy(update={"site": "fsn-01", "id": f"o{entry.id}"})
        if isinstance(entry, journal.Failed)
        else entry
        for entry in strict(["08006"])
        if isinstance(entry, journal.Failed)
    ]
    silent = judge([*strict(["25006"]), *other], scenario)
    assert silent.unavailable == float("inf"), "the slowest site counts"


def test_where_no_site_is_spared_there_is_no_figure_but_a_chain() -> None:
    sites = ("sib-01", "sib-03", "fsn-01")
    entries = [e.model_copy(update={"sites": sites}) if isinstance(e, journal.Fault) else e for e in told()]
    one = judge(entries, built_in()["cold-start"])
    absent = {figure.name: figure.absent for figure in one.judged}
    assert absent == {"writes": True, "transactions": True, "healing": False, "reads": True, "back": False}
    (chain,) = one.chains
    assert chain.start == one.phases.healing
    assert sum(link.cost for link in chain.links) == pytest.approx(one.unavailable)


def test_a_cold_start_is_measured_from_the_healing_to_the_first_write() -> None:
    scenario = built_in()["cold-start"]
    one = judge(told(), scenario)
    back = next(figure for figure in one.judged if figure.name == "back")
    assert 0 <= back.measured < 0.1
    assert one.unavailable == back.measured


def test_repeated_runs_give_median_and_worst() -> None:
    runs = Repeated(tuple(judged(Drill(seed=seed, writable=11.5 + seed / 2)) for seed in range(3)))
    figures = sorted(one.unavailable for one in runs.results)
    assert (runs.median, runs.worst) == (figures[1], figures[2])
    assert runs.typical.unavailable == runs.median
    assert runs.passed
    failed = Repeated((*runs.results, judged(budgets=BudgetsModel(site_loss=1))))
    assert not failed.passed


def test_a_journal_that_is_not_whole_is_refused() -> None:
    with pytest.raises(journal.JournalError, match="begins with `began`, found none"):
        result([journal.Primary(t=1, node="db-a")])
    with pytest.raises(journal.JournalError, match="found nothing at all"):
        result([])
    with pytest.raises(journal.JournalError, match=r"it ends after 58\.0 s: .* Run the drill again"):
        result([entry for entry in told() if not isinstance(entry, journal.Table | journal.Collected) and entry.t < 58])


def after_health(t: float, held: bool = True) -> Edit:
    last = "last: consul: every datacenter sees every other"
    return lambda entries: [*entries, journal.Promise(t=t, name="healthy again", held=held, detail=last)]


def test_the_way_back_to_health_has_a_budget_where_it_is_judged() -> None:
    healed = judged().phases.healed
    unjudged = judged(edit=after_health(healed + 30))
    assert unjudged.passed
    assert next(one for one in unjudged.judged if one.name == "healthy").measured == pytest.approx(30)
    assert judged(edit=after_health(healed + 11.9), healthy="healthy").passed
    late = judged(edit=after_health(healed + 12.2), healthy="healthy").reasons
    assert late == ("healthy: 12.2 s without, budget 12 s (last: consul: every datacenter sees every other)",)
    never = judged(edit=after_health(healed + 180, held=False), healthy="healthy").reasons
    assert never[0].startswith("healthy: no end without, budget 12 s")
    assert judged(healthy="healthy").reasons == ("healthy: no end without, budget 12 s (it was not looked at)",)
