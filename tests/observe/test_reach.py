"""What would be lost if a node led: pure, from the nodes' answers."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tercet.converge.component import Readings
from tercet.converge.requests import NO_ANSWER, Answer
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.observe.reach import Databases, Reach, lsn, shared, survey_of


def reach(node: str, timeline: int, end: int, *switches: tuple[int, int], running: bool = False) -> Reach:
    return Reach(node, "7", timeline, end, switches, running=running, standby=not running)


def test_on_one_timeline_the_shorter_end_is_shared() -> None:
    late, ahead = reach("late", 1, 100), reach("ahead", 1, 300)
    assert shared(late, ahead) == shared(ahead, late) == 100
    assert Databases((late, ahead)).lost(late) == {"ahead": 200}
    assert Databases((late, ahead)).lost(ahead) == {"late": 0}


def test_what_an_old_primary_wrote_behind_the_fork_is_its_own() -> None:
    old, new = reach("old", 1, 180), reach("new", 2, 150, (1, 120))
    assert shared(old, new) == 120
    survey = Databases((old, new))
    assert survey.best() == new  # the newest timeline, although it is shorter
    assert survey.lost(new) == {"old": 60}
    assert survey.lost(old) == {"new": 30}


def test_two_promotions_from_one_ancestor_share_no_more_than_it() -> None:
    one, other = reach("one", 2, 500, (1, 100)), reach("other", 3, 400, (1, 90), (2, 300))
    assert shared(one, other) == shared(other, one) == 90


def test_a_standby_of_an_older_timeline_that_did_not_pass_the_fork_loses_nothing() -> None:
    assert Databases((reach("behind", 1, 110), new := reach("new", 2, 150, (1, 120)))).lost(new) == {"behind": 0}


def test_a_standby_that_was_read_a_moment_later_is_not_ahead_of_its_running_primary() -> None:
    primary, standby, stale = reach("b", 2, 50, (1, 9), running=True), reach("a", 2, 58, (1, 9)), reach("c", 1, 20)
    survey = Databases((standby, primary, stale))
    assert survey.best() == primary
    assert survey.lost(primary) == {"a": 0, "c": 11}


def test_a_minority_cannot_know_of_every_acknowledged_write(platform: Platform) -> None:
    one, two = reach("db-sib-01", 1, 5), reach("db-sib-03", 1, 5)
    assert Databases((one, two)).unsure(platform) is None
    assert "1 of 3" in (Databases((one,), silent={"db-sib-03": "x", "db-fsn-01": "y"}).unsure(platform) or "")
    # An empty node knows nothing: it counts as one that was not read.
    assert Databases((one,), empty=("db-sib-03", "db-fsn-01")).unsure(platform)


ANSWER = {
    "data": True,
    "system": "7",
    "timeline": 3,
    "end": 0x1_0000_0010,
    "history": "1\t0/3000000\tno recovery target specified\n\n2\t0/5000148\tno recovery target specified\n",
    "running": True,
    "standby": False,
}


def answers(**by_node: object) -> Readings:
    return Readings({node: {"reach": Answer(0, json.dumps(said))} for node, said in by_node.items()}, {"c": "c: dark"})


def test_the_answer_of_a_node_is_read_with_its_history() -> None:
    survey = survey_of(answers(a=ANSWER, b={"data": False}), ["a", "b", "c"], "reach")
    (found,) = survey.reaches
    assert found.switches == ((1, 0x3000000), (2, 0x5000148)) and found.writes
    assert lsn(found.end) == "1/10"
    assert survey.empty == ("b",) and survey.silent == {"c": "c: dark"}


def test_a_node_whose_program_failed_is_unknown_not_empty() -> None:
    survey = survey_of(Readings({"a": {"reach": Answer(1, error="no pg_controldata")}}), ["a"], "reach")
    assert survey.silent == {"a": "status 1: no pg_controldata"} and not survey.empty


def test_databases_of_two_clusters_are_refused() -> None:
    with pytest.raises(TercetError, match="a has 7, b has 8"):
        survey_of(answers(a=ANSWER, b=ANSWER | {"system": "8"}), ["a", "b"], "reach")


def test_a_leader_without_data_is_refused_with_the_reason() -> None:
    survey = Databases((reach("a", 1, 5),), empty=("b",), silent={"c": "dark"})
    for name, reason in (("b", "it is empty"), ("c", "dark"), ("d", "it is not a database node")):
        with pytest.raises(TercetError, match=f"{name} cannot lead: {reason}.*: a"):
            survey.of(name)
    with pytest.raises(TercetError, match="no database node"):
        Databases((), silent={"a": NO_ANSWER.why()}).best()
    assert dataclasses.replace(survey.of("a"), running=True, standby=True).writes is False


def test_what_it_had_before_it_went_on_alone() -> None:
    now = reach("alone", 4, 900, (1, 100), (2, 200), (3, 400))
    assert now.until(2, 150) == reach("alone", 2, 200, (1, 100)), "the place where the timeline was left"
    assert now.until(4, 500) == now, "it went on on the same timeline"
