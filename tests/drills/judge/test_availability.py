"""Unavailability is the time from the last success before to the first success after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.drills.judge.availability import THRESHOLD, gaps, longest
from tercet.drills.judge.history import Slot

from ..conftest import unhurried


def steady(start: float, end: float, rate: float = 20.0) -> list[Slot]:
    slots = []
    number = 0
    while (at := start + number / rate) < end:
        slots.append(Slot(at, at + 0.01, at + 0.01))
        number += 1
    return slots


def broken(start: float, end: float, rate: float = 20.0) -> list[Slot]:
    return [Slot(slot.scheduled, slot.ended, None) for slot in steady(start, end, rate)]


STREAM = ("sib-01", "writer")


def test_a_steady_load_has_no_gap() -> None:
    assert gaps({STREAM: steady(0, 10)}) == ()


@unhurried
@given(st.floats(0.7, 30), st.floats(1, 50))
def test_a_failure_lasts_from_the_last_success_before_to_the_first_after(length: float, rate: float) -> None:
    slots = [*steady(0, 5, rate), *broken(5, 5 + length, rate), *steady(5 + length, 12 + length, rate)]
    before = max(slot.succeeded for slot in slots if slot.succeeded is not None and slot.scheduled < 5)
    after = min(slot.succeeded for slot in slots if slot.succeeded is not None and slot.scheduled >= 5)
    found = gaps({STREAM: slots}, threshold=1.1 / rate + 0.1)
    assert len(found) <= 1
    if length > 2.5 / rate + 0.2:
        (gap,) = found
        assert gap.start == pytest.approx(before)
        assert gap.end == pytest.approx(after)
        assert gap.recovered
        assert gap.blocked >= 1


def test_an_idle_time_is_no_gap() -> None:
    slots = [*steady(0, 5), *steady(20, 25)]
    assert gaps({STREAM: slots}) == ()


def test_after_an_idle_time_the_gap_begins_when_something_was_due() -> None:
    slots = [*steady(0, 5), *broken(20, 22), *steady(22, 25)]
    (gap,) = gaps({STREAM: slots})
    assert gap.start == 20
    assert gap.seconds == pytest.approx(2.01)


def test_a_load_that_never_succeeds_is_one_gap_without_recovery() -> None:
    (gap,) = gaps({STREAM: broken(3, 8)})
    assert (gap.start, gap.recovered, gap.blocked) == (3, False, 100)
    assert gap.end == pytest.approx(7.96)


def test_a_gap_at_the_start_and_one_at_the_end() -> None:
    slots = [*broken(0, 2), *steady(2, 5), *broken(5, 8)]
    first, last = gaps({STREAM: slots})
    assert (first.start, first.recovered) == (0, True)
    assert (round(last.start, 2), last.recovered) == (4.96, False)


def test_one_statement_that_took_long_is_a_gap_although_nothing_failed() -> None:
    slots = [*steady(0, 2), Slot(2.0, 4.0, 4.0), *(Slot(2 + n / 20, 4.1, 4.1) for n in range(1, 40)), *steady(4.2, 6)]
    (gap,) = gaps({STREAM: slots})
    assert gap.end == 4.0
    assert gap.blocked >= 1


def test_longest_is_by_site_and_worker() -> None:
    found = gaps(
        {
            ("a", "writer"): [*broken(0, 2), *steady(2, 5), *broken(5, 9), *steady(9, 10)],
            ("a", "reader"): [*broken(0, 1), *steady(1, 2)],
        }
    )
    worst = longest(found, "a", "writer")
    assert worst is not None
    assert worst.seconds == pytest.approx(4.05, abs=0.01)
    assert longest(found, "b", "writer") is None
    assert all(gap.seconds > THRESHOLD for gap in found)
