"""The record of the lost sites: who comes with another inventory is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.components.identity import membership
from tercet.components.identity.membership import NOTHING, Membership, Record, agree, holders, known, record_of, writing
from tercet.converge.requests import NO_ANSWER, Answer, Deferred, Exec
from tercet.converge.resources import Object
from tercet.errors import TercetError
from tercet.inventory.platform import Platform

LOST = ("sib-01", "sib-03")
RECORD = Record(LOST, "db-fsn-01", 3, 4242, "2026-11-27 23:10 UTC")


def answer(record: Record) -> Answer:
    return Answer(0, json.dumps(dataclasses.asdict(record)))


NONE = Answer(0, "{}\n")


def test_a_record_is_read_as_it_was_written() -> None:
    assert record_of(answer(RECORD)) == RECORD and record_of(NONE) == NOTHING
    assert record_of(NO_ANSWER) is None and record_of(Answer(0, '{"of": "a later version"}')) is None


def test_of_a_record_that_was_half_written_the_one_that_says_more_counts() -> None:
    returning = dataclasses.replace(RECORD, returning=("sib-01",))
    assert known({"a": NONE, "b": answer(RECORD), "c": NO_ANSWER}) == RECORD
    assert known({"a": answer(returning), "b": answer(RECORD)}) == returning


def test_the_inventory_and_the_platform_must_say_the_same(platform: Platform) -> None:
    alone = platform.losing(*LOST)
    agree(platform, {"a": NONE})
    agree(alone, {"a": answer(RECORD), "b": NONE})
    agree(alone, {"a": NO_ANSWER})  # nothing is there yet, or nothing can be changed
    with pytest.raises(
        TercetError, match=r"expected lost_sites: \[sib-01, sib-03\] in the inventory, found none of that"
    ):
        agree(platform, {"a": NO_ANSWER, "b": answer(RECORD)})
    with pytest.raises(TercetError, match=r"found lost_sites: \[sib-01\]: since 2026-11-27 23:10 UTC"):
        agree(platform.losing("sib-01"), {"b": answer(RECORD)})
    with pytest.raises(TercetError, match=r"found that no node does[^\n]*\n.*Remove `lost_sites`"):
        agree(alone, {"a": NONE, "b": NO_ANSWER})


@pytest.mark.parametrize("lost", [(), LOST])
def test_amid_a_return_nothing_but_the_return_goes_on(platform: Platform, lost: tuple[str, ...]) -> None:
    """Whether or not the inventory is written already."""
    returning = dataclasses.replace(RECORD, returning=LOST)
    with pytest.raises(TercetError, match="`tercet recover rejoin sib-01 sib-03` goes on"):
        agree(platform.losing(*lost), {"a": answer(returning), "b": NONE})


def test_a_new_node_gets_the_record_of_the_others(context: Context) -> None:
    two = dataclasses.replace(context, platform=context.platform.losing("sib-01"))
    [wanted] = Membership(two).desired(two.platform.node("db-sib-03"))
    assert isinstance(wanted, Object)
    [change] = wanted.change
    assert isinstance(change, Exec) and isinstance(change.stdin, Deferred)
    one = dataclasses.replace(RECORD, lost=("sib-01",))
    assert wanted.differs(NONE) == "it says none, wanted sib-01" and wanted.differs(answer(one)) is None
    assert record_of(Answer(0, change.stdin.render({"a": answer(one), "b": NONE}).decode())) == one
    with pytest.raises(LookupError, match="they have none"):
        change.stdin.render({"a": NONE})


def test_where_no_site_is_lost_a_new_node_needs_none(context: Context) -> None:
    for node in holders(context.platform):
        [wanted] = Membership(context).desired(node)
        assert isinstance(wanted, Object)
        assert wanted.differs(NONE) is None and wanted.differs(NO_ANSWER) is None


def test_the_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = membership._WRITE.replace(membership.FOLDER, str(tmp_path / "tercet"))
    file = tmp_path / "tercet" / "lost-sites.json"

    def run(record: Record, text: str = script) -> int:
        stdin = writing(record).stdin
        assert isinstance(stdin, bytes)
        return subprocess.run(["sh", "-c", text], input=stdin, timeout=20, check=False).returncode

    assert run(RECORD) == 0 and record_of(Answer(0, file.read_text())) == RECORD
    assert run(NOTHING, script.replace("sync", "false")) != 0 and file.exists(), "a full disk"
    assert run(NOTHING) == 0 and not file.exists()
