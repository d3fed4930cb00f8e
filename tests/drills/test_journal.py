"""The journal: its published schema is current, a torn line is survived, any other is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from tercet.drills import journal
from tercet.drills.run.clock import NodeClock, Sample, estimate

from .conftest import unhurried
from .histories import OUTCOMES, clean


@unhurried
@given(OUTCOMES)
def test_what_is_written_is_read(outcomes: list[str]) -> None:
    entries = clean(outcomes).told()
    lines = [journal.line_of(entry) for entry in entries]
    assert [journal.line_of(entry) for entry in journal.read_lines(lines)] == lines
    assert all(json.loads(line)["kind"] for line in lines)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    entries = clean(["acknowledged"] * 3).told()
    path = tmp_path / "j.jsonl"
    with journal.Journal(path) as book:
        for entry in entries:
            book.append(entry)
    whole = path.read_bytes()
    for cut in (2, 20, 60):
        path.write_bytes(whole[:-cut])
        assert len(journal.read(path)) == len(entries) - 1
    torn: list[int] = []
    journal.read(path, torn.append)
    assert torn == [len(entries)]
    path.write_bytes(whole[:-1])
    assert len(journal.read(path, torn.append)) == len(entries), "only the line end is missing: the entry is whole"
    assert len(torn) == 1


def test_a_bad_line_elsewhere_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    good = journal.line_of(journal.Primary(t=1, node="db-a"))
    path.write_bytes(good + b'{"kind":"primary","t":2}\n' + good)
    with pytest.raises(journal.JournalError, match=r"line 2: expected an entry .* Field required at primary\.node"):
        journal.read(path)


def test_a_journal_of_another_version_is_refused() -> None:
    line = b'{"kind":"began","version":1,"t":0}\n'
    with pytest.raises(journal.JournalError, match="line 1: expected a journal of version 2, found version 1"):
        list(journal.read_lines([line]))


def test_a_missing_journal_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(journal.JournalError, match=r"give the path of a drill's \.jsonl file"):
        journal.read(tmp_path / "none.jsonl")


def test_a_line_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    book = journal.Journal(tmp_path / "j.jsonl")
    book.append(journal.Primary(t=1.000001234, node="db-a"))
    assert (tmp_path / "j.jsonl").read_bytes() == b'{"t":1.0,"kind":"primary","node":"db-a"}\n'
    book.close()
    book.close()


def test_the_clock_is_taken_from_the_shortest_round_trip() -> None:
    samples = [Sample(10.0, 15.6, 11.0), Sample(20.0, 25.05, 20.1), Sample(30.0, 35.4, 30.6)]
    clock = estimate(samples)
    assert clock.offset == pytest.approx(5.0)
    assert clock.uncertainty == pytest.approx(0.05)
    assert clock.drill_time(105.0, began=90.0) == pytest.approx(10.0)
    assert NodeClock(0.0, 0.0).drill_time(91.5, began=90.0) == 1.5


def test_without_a_sample_there_is_no_clock() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate([])
