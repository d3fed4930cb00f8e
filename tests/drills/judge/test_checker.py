"""The checker finds every anomaly, and none in a clean history."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.drills import journal
from tercet.drills.judge.checker import Findings, check, message_class, missing_on
from tercet.drills.judge.history import build

from ..conftest import unhurried
from ..histories import NODES, OUTCOMES, PRIMARY, SITES, Story, clean

ANOMALIES = (
    "lost",
    "false",
    "unexpected",
    "duplicated",
    "reordered",
    "vanished",
    "backwards",
    "blind",
    "misrouted",
    "split",
)


def judge(story: Story) -> Findings:
    return check(build(story.told()), truth=PRIMARY.name)


def found(findings: Findings) -> set[str]:
    return {name for name in ANOMALIES if getattr(findings, name)}


@unhurried
@given(OUTCOMES, st.floats(0.001, 0.04))
def test_a_clean_history_has_no_anomaly(outcomes: list[str], took: float) -> None:
    story = clean(outcomes, took)
    findings = judge(story)
    assert found(findings) == set()
    assert findings.acknowledged == len(story.acknowledged)
    assert findings.failed == len(story.failed)
    assert findings.unknown == len(story.unknown)
    assert len(findings.recovered) == sum(entry.seq % 2 == 0 for entry in story.unknown)
    assert all(stale.seconds == 0 for stale in findings.stalest)


@unhurried
@given(OUTCOMES, st.randoms(use_true_random=False))
def test_the_order_of_the_journal_does_not_matter(outcomes: list[str], shuffler: random.Random) -> None:
    story = clean(outcomes)
    entries = story.told()
    shuffled = list(entries)
    shuffler.shuffle(shuffled)
    assert check(build(shuffled), truth=PRIMARY.name) == check(build(entries), truth=PRIMARY.name)


def lose(story: Story, pick: random.Random) -> str:
    victim = pick.choice(story.acknowledged)
    story.rows[victim.writer] = [row for row in story.rows[victim.writer] if row[1] != victim.id]
    return victim.id


def acknowledge_falsely(story: Story, pick: random.Random) -> str:
    index = pick.randrange(len(story.acknowledged))
    warning = "01000 canceling wait for synchronous replication due to user request"
    story.acknowledged[index] = story.acknowledged[index].model_copy(update={"warning": warning})
    return story.acknowledged[index].id


def commit_refused(story: Story, pick: random.Random) -> str:
    victim = pick.choice(story.failed)
    story.rows[victim.writer].append((victim.seq, victim.id, victim.t))
    return victim.id


def write_unasked(story: Story, pick: random.Random) -> str:
    story.rows[f"{SITES[0]}/writer"].append((9999, "from nowhere", 99.0))
    return "from nowhere"


def duplicate(story: Story, pick: random.Random) -> str:
    rows = pick.choice(list(story.rows.values()))
    row = pick.choice(rows)
    rows.append(row)
    return row[1]


def reorder(story: Story, pick: random.Random) -> str:
    victim = pick.choice([entry for entry in story.acknowledged if entry.seq > 1])
    story.rows[victim.writer] = [
        (seq, id_, 0.5 if id_ == victim.id else written) for seq, id_, written in story.rows[victim.writer]
    ]
    return victim.id


def read_what_is_gone(story: Story, pick: random.Random) -> str:
    index = pick.randrange(len(story.reads))
    seen = {**story.reads[index].seen, f"{SITES[0]}/writer": 7777}
    story.reads[index] = story.reads[index].model_copy(update={"seen": seen})
    return f"{SITES[0]}/writer 7777"


def read_backwards(story: Story, pick: random.Random) -> str:
    index = pick.randrange(len(SITES) * 2, len(story.reads))
    seen = dict.fromkeys(story.reads[index].seen, 0)
    story.reads[index] = story.reads[index].model_copy(update={"seen": seen})
    return str(story.reads[index].t)


def blind(story: Story, pick: random.Random) -> str:
    index = pick.randrange(len(story.acknowledged))
    story.acknowledged[index] = story.acknowledged[index].model_copy(update={"saw_own": False})
    return story.acknowledged[index].id


def read_elsewhere(story: Story, pick: random.Random) -> str:
    index = pick.randrange(len(story.reads))
    wrong = next(node for node in NODES if node.address != story.reads[index].node)
    story.reads[index] = story.reads[index].model_copy(update={"node": wrong.address})
    return wrong.name


def read_elsewhere_in_transaction(story: Story, pick: random.Random) -> str:
    indexes = [i for i, entry in enumerate(story.acknowledged) if entry.worker == "transactions"]
    index = pick.choice(indexes)
    story.acknowledged[index] = story.acknowledged[index].model_copy(update={"read_node": NODES[1].address})
    return NODES[1].name


def read_elsewhere_first(story: Story, pick: random.Random) -> str:
    indexes = [i for i, entry in enumerate(story.acknowledged) if entry.worker == "transactions"]
    index = pick.choice(indexes)
    story.acknowledged[index] = story.acknowledged[index].model_copy(update={"first_node": NODES[1].address})
    return story.acknowledged[index].id


def written_elsewhere(story: Story, pick: random.Random) -> str:
    indexes = [i for i, entry in enumerate(story.acknowledged) if entry.worker == "writer"]
    index = pick.choice(indexes)
    story.acknowledged[index] = story.acknowledged[index].model_copy(update={"node": NODES[2].address})
    return NODES[2].name


@pytest.mark.parametrize(
    ("inject", "anomaly"),
    [
        (lose, "lost"),
        (acknowledge_falsely, "false"),
        (commit_refused, "unexpected"),
        (write_unasked, "unexpected"),
        (duplicate, "duplicated"),
        (reorder, "reordered"),
        (read_what_is_gone, "vanished"),
        (read_backwards, "backwards"),
        (blind, "blind"),
        (read_elsewhere, "misrouted"),
        (read_elsewhere_in_transaction, "misrouted"),
        (read_elsewhere_first, "split"),
        (written_elsewhere, "misrouted"),
    ],
)
@unhurried
@given(outcomes=OUTCOMES, pick=st.randoms(use_true_random=False))
def test_an_anomaly_is_always_found(
    inject: Callable[[Story, random.Random], str], anomaly: str, outcomes: list[str], pick: random.Random
) -> None:
    story = clean(outcomes)
    who = inject(story, pick)
    findings = judge(story)
    assert anomaly in found(findings)
    # It names the culprit, or (reads) the moment.
    said = repr(getattr(findings, anomaly)).replace("('sib-01/writer', 7777)", "sib-01/writer 7777")
    assert who in said


@unhurried
@given(OUTCOMES, st.randoms(use_true_random=False))
def test_a_lost_row_that_was_read_is_reported_as_vanished_too(outcomes: list[str], pick: random.Random) -> None:
    story = clean(outcomes)
    lose(story, pick)
    assert found(judge(story)) <= {"lost", "vanished"}


def test_an_attempt_that_nothing_was_heard_of_is_unknown() -> None:
    story = clean(["acknowledged"] * 6)
    silent = story.acknowledged.pop()
    findings = judge(story)
    assert findings.unknown == 1
    assert [write.id for write in findings.recovered] == [silent.id]
    assert found(findings) == set()


def test_a_row_without_attempt_is_forgiven_only_where_the_load_was_lost() -> None:
    story = clean(["acknowledged"] * 6)
    story.rows["sib-01/writer"].append((7, "last words", 1.65))
    assert judge(story).unexpected
    story.entries.append(journal.Ended(t=1.7, site="sib-01", reason="lost"))
    assert not judge(story).unexpected
    story.write("sib-01", "writer", 1006, 3.0, 0.02, "acknowledged")  # the load was started again
    assert not judge(story).unexpected
    for seq, id_ in ((3, "an old number"), (1006, "a new number"), (1007, "after the last")):
        story.rows["sib-01/writer"].append((seq, id_, 4.0))
        assert [row.id for row in judge(story).unexpected] == [id_]
        story.rows["sib-01/writer"].pop()
    story.entries.append(journal.Ended(t=3.5, site="sib-01", reason="lost"))
    story.rows["sib-01/writer"].append((1007, "last words again", 3.4))
    assert not judge(story).unexpected


def test_a_late_row_of_unknown_outcome_orders_nothing() -> None:
    story = clean(["acknowledged", "unknown", "acknowledged", "acknowledged"])
    story.rows["sib-01/writer"] = [
        (seq, id_, 60.0 if seq == 2 else written) for seq, id_, written in story.rows["sib-01/writer"]
    ]
    assert found(judge(story)) == set()


def test_the_error_of_the_clocks_is_allowed_for() -> None:
    story = clean(["acknowledged"] * 4)
    story.rows["sib-01/writer"] = [
        (seq, id_, written - (0.5 if seq == 3 else 0)) for seq, id_, written in story.rows["sib-01/writer"]
    ]
    assert found(judge(story)) == {"reordered"}
    story.entries.append(journal.Clock(t=0, node="db-sib-03", offset=-0.4, uncertainty=0.01))
    assert found(judge(story)) == set()


@unhurried
@given(st.floats(0.3, 20))
def test_staleness_counts_from_the_oldest_acknowledged_write_that_was_not_seen(lag: float) -> None:
    story = clean(["acknowledged"] * 40)
    story.reads.clear()
    frozen_at = 1.0 + 0.1 * 5 + 0.015  # the sixth write was the last that this replica got
    story.read("fsn-01", frozen_at + lag, 0.01, lag)
    stale = next(one for one in judge(story).stalest if one.site == "fsn-01")
    seventh_acknowledged = 1.0 + 0.1 * 6 + 0.02
    assert stale.seconds == pytest.approx(frozen_at + lag - seventh_acknowledged)
    assert stale.node == NODES[2].address


def test_a_read_that_sees_everything_that_was_acknowledged_before_it_is_fresh() -> None:
    story = clean(["acknowledged"] * 10, took=0.09, lag=0.0)
    assert all(stale.seconds == 0 for stale in judge(story).stalest)


def test_reads_around_a_change_of_route_are_not_judged() -> None:
    story = clean(["acknowledged"] * 30)
    story.entries.append(journal.Route(t=2.0, site="fsn-01", reads=("db-sib-03",)))
    late = judge(story)
    assert late.misrouted, "the node of before answers long after the change"
    assert min(one.t for one in late.misrouted) > 2.25
    story.entries.append(journal.Route(t=2.1, site="fsn-01", reads=()))
    assert not judge(story).misrouted, "no expectation: any node will do"


def test_a_write_by_the_former_primary_long_after_the_change_is_found() -> None:
    story = clean(["acknowledged"] * 30)
    story.entries.append(journal.Primary(t=2.0, node="db-sib-03"))
    wrong = [one for one in judge(story).misrouted if one.what == "write"]
    assert wrong
    assert {one.expected for one in wrong} == {("db-sib-03",)}


def test_a_standby_that_lacks_acknowledged_rows_is_found() -> None:
    story = clean(["acknowledged"] * 6)
    entries = story.told()
    entries.append(journal.Table(t=999, node="db-sib-03", writer="sib-01/writer", rows=((1, "sib-01-writer-1", 1.0),)))
    history = build(entries)
    assert missing_on(history, PRIMARY.name) == ()
    assert len(missing_on(history, "db-sib-03")) == 6 * 2 * 3 - 1


def test_errors_are_counted_by_sqlstate_and_class_of_message() -> None:
    story = clean(["acknowledged"] * 4)
    for seq, port in ((90, 5432), (91, 6000)):
        story.failed.append(
            journal.Failed(
                t=5,
                site="sib-01",
                worker="reader",
                scheduled=5,
                seq=seq,
                stage="connect",
                message=f'connection to "100.64.0.{seq}", port {port} failed',
            )
        )
    story.unknown.append(
        journal.Unknown(
            t=5, site="sib-01", worker="writer", writer="sib-01/writer", seq=5, id="x", scheduled=5,
            stage="commit", sqlstate="57P01", message="terminating connection",
        )
    )  # fmt: skip
    errors = {(error.worker, error.sqlstate, error.message): error.count for error in judge(story).errors}
    assert errors == {
        ("reader", "", 'connection to "N", port N failed'): 2,
        ("writer", "57P01", "terminating connection"): 1,
    }


def test_message_classes_keep_the_words() -> None:
    assert message_class("row 550e8400-e29b-41d4-a716-446655440000 took 12.5 s at 0xff") == "row N took N s at N"
