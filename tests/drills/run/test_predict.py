"""The predictor agrees with memberlist's arithmetic and with what was measured by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.drills.run.predict import Prediction, Running, gossip, predict
from tercet.drills.scenario.mechanism import Mechanism

from ..conftest import unhurried

FAST = Running(members=9, probe_interval=0.5, gossip_interval=0.1, suspicion_mult=3, loop_wait=2.0, one_way=0.0)
WAN = replace(FAST, one_way=0.015)
CHECK_S = 0.5  # what the proxies waited for in the figures by hand: half a second, on average, for a check to pass


def simulated_detection(members: int, silent: int, interval: float, mult: int, pick: random.Random) -> float:
    """One failure as memberlist runs it: every survivor probes the others in a random order, one each interval."""
    survivors = members - silent
    probes = sorted(pick.uniform(0, interval) + interval * pick.randrange(members - 1) for _ in range(survivors))
    suspicion = mult * interval  # log10(9) < 1
    confirmed = probes[min(mult - 2, survivors - 1)] + interval
    return max(probes[0] + interval + suspicion, confirmed)


@pytest.mark.parametrize("silent", [1, 3])
def test_detection_is_what_a_simulation_of_memberlist_gives(silent: int) -> None:
    pick = random.Random(7)
    times = sorted(simulated_detection(9, silent, 0.5, 3, pick) for _ in range(20000))
    terms = gossip(FAST, silent)
    assert sum(term.expected for term in terms) == pytest.approx(sum(times) / len(times), abs=0.03)
    # The bound also allows for one prober that doubts itself.
    assert sum(term.bound for term in terms) - 0.5 == pytest.approx(times[int(0.99 * len(times))], abs=0.12)


def test_the_first_row_measured_by_hand() -> None:
    """Site killed, plain bridge, no guard: failed +2.7, key gone +2.8, asked +4.8, check +5.4, rendered +5.5."""
    terms = {
        term.title: term.expected for term in predict(Mechanism.SILENCE, replace(FAST, guard=False), silent=3).terms
    }
    seen = terms["first probe"] + terms["probe fails"] + terms["failure seen by gossip"]
    assert seen == pytest.approx(2.7, abs=0.2)
    assert terms["members asked"] == 2.0
    total = predict(Mechanism.SILENCE, replace(FAST, guard=False), silent=3).expected
    assert total == pytest.approx(5.5 - CHECK_S, abs=0.4)


def test_the_guard_saves_most_of_the_two_seconds() -> None:
    with_guard = predict(Mechanism.SILENCE, FAST, silent=3)
    without = predict(Mechanism.SILENCE, replace(FAST, guard=False), silent=3)
    assert without.expected - with_guard.expected == pytest.approx(1.8, abs=0.1)
    assert with_guard.expected == pytest.approx(3.9 - CHECK_S, abs=0.4)  # by hand 3.7 to 4.5


def test_the_other_figures_measured_by_hand() -> None:
    assert predict(Mechanism.CRASH, FAST).expected == pytest.approx(2.4 - CHECK_S - 1.0, abs=0.6)  # less half a turn
    assert predict(Mechanism.SWITCHOVER, FAST).expected == pytest.approx(2.9 - CHECK_S - 1.7, abs=0.4)  # less its polls
    assert predict(Mechanism.COLD_START, FAST).expected == pytest.approx(16.3 - CHECK_S, abs=2)


def test_a_hung_postmaster_is_bounded_by_the_look_that_ends_it() -> None:
    hung, crash = predict(Mechanism.HUNG, WAN), predict(Mechanism.CRASH, WAN)
    assert hung.expected == crash.expected
    assert 7 < hung.bound < 7 + crash.bound


def every_mechanism(running: Running) -> list[Prediction]:
    return [predict(mechanism, running) for mechanism in Mechanism]


RUNNING = st.builds(
    Running,
    members=st.integers(3, 30),
    probe_interval=st.floats(0.1, 5),
    gossip_interval=st.floats(0.05, 1),
    suspicion_mult=st.integers(2, 8),
    loop_wait=st.floats(1, 15),
    one_way=st.floats(0, 0.3),
    guard=st.booleans(),
)


@unhurried
@given(RUNNING)
def test_the_bound_is_never_below_the_expectation(running: Running) -> None:
    for prediction in every_mechanism(running):
        for term in prediction.terms:
            assert 0 <= term.expected <= term.bound + 1e-9, term
            assert term.source


@unhurried
@given(RUNNING, st.floats(0.001, 0.2))
def test_a_slower_link_is_never_predicted_to_be_faster(running: Running, more: float) -> None:
    slower = replace(running, one_way=running.one_way + more)
    for mechanism in Mechanism:
        assert predict(mechanism, slower).bound >= predict(mechanism, running).bound


def test_nothing_lost_is_no_outage() -> None:
    assert predict(Mechanism.NONE, WAN).expected == 0 == predict(Mechanism.NONE, WAN).bound


def test_more_silent_members_are_found_later() -> None:
    assert gossip(FAST, 3)[0].expected > gossip(FAST, 1)[0].expected


def test_links_have_the_names_of_the_measured_chain() -> None:
    titles = [term.title for term in predict(Mechanism.SILENCE, WAN, silent=3).terms]
    assert titles == [
        "first probe",
        "probe fails",
        "failure seen by gossip",
        "session gone",
        "members asked",
        "leader key taken",
        "promoted",
        "template rendered",
        "proxy ready",
        "first acknowledged write",
    ]
