"""What only a returned node has: pure, from positions on timelines."""

from __future__ import annotations

from tercet.components.identity.membership import Record
from tercet.converge.requests import Answer
from tercet.observe.beyond import parted, question, returned, ways
from tercet.observe.reach import Reach, shared

RECORD = Record(("a", "b"), "alone", timeline=1, end=100)
ALONE = Reach("alone", "7", 2, 500, ((1, 100),))


def test_the_last_commits_of_a_dead_primary_are_its_own() -> None:
    primary = Reach("primary", "7", 1, 160)
    assert parted(RECORD, ALONE, primary) == 100 and ways(primary, 100) == ((1, 100),)


def test_one_that_had_less_has_nothing_of_its_own() -> None:
    behind = Reach("behind", "7", 1, 80)
    assert parted(RECORD, ALONE, behind) == 80 and ways(behind, 80) == ()


def test_a_timeline_of_the_same_number_is_another_one() -> None:
    """Both sides promoted from the same position, each to timeline 2: only the first is the platform's."""
    other = Reach("other", "7", 2, 300, ((1, 100),))
    assert shared(ALONE, other) == 300, "by numbers alone they seem to share it"
    assert parted(RECORD, ALONE, other) == 100 and ways(other, 100) == ((2, 100),)


def test_the_ways_on_over_several_timelines() -> None:
    far = Reach("far", "7", 3, 900, ((1, 150), (2, 400)))
    assert parted(RECORD, ALONE, far) == 100
    assert ways(far, 100) == ((1, 100), (2, 150), (3, 400))
    assert question(far, 100).argv[-3:] == ("1:0/64", "2:0/96", "3:0/190")


def test_what_the_node_says_of_it() -> None:
    node = Reach("far", "7", 1, 164)
    said = '{"commits": 2, "first": "x", "last": "y", "segments": ["0"], "histories": [], "listing": "l"}'
    found = returned(node, 100, Answer(0, said))
    assert found is not None and (found.size, found.commits, found.last, found.segments) == (64, 2, "y", ("0",))
    assert returned(node, 100, Answer(1)) is None
