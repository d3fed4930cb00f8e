"""Who may say yes to which leader."""

from __future__ import annotations

from typing import Any

import pytest

from tercet.cli.commands.recover import confirm
from tercet.cli.recover_view import survey_json
from tercet.errors import TercetError
from tercet.observe.reach import Reach, Survey

AHEAD, LATE = Reach("ahead", "7", 1, 300), Reach("late", "7", 1, 100)
BOTH = Survey((AHEAD, LATE), silent={"third": "dark"})


def said(*, yes: bool = False, confirmed: str | None = None) -> dict[str, Any]:
    return {"yes": yes, "confirmed": confirmed}


def test_yes_is_enough_where_no_acknowledged_write_can_be_lost() -> None:
    confirm(BOTH, AHEAD, None, **said(yes=True))


def test_yes_is_not_enough_for_a_leader_that_lacks_wal_or_for_a_minority() -> None:
    with pytest.raises(TercetError, match="other nodes have WAL that late has not: --confirm late"):
        confirm(BOTH, LATE, None, **said(yes=True))
    with pytest.raises(TercetError, match=r"1 of 3.*--confirm ahead"):
        confirm(BOTH, AHEAD, "1 of 3 could be read", **said(yes=True))
    confirm(BOTH, LATE, "1 of 3 could be read", **said(confirmed="late"))


def test_the_name_confirmed_must_be_the_leaders() -> None:
    with pytest.raises(TercetError, match="--confirm says late, but ahead would lead"):
        confirm(BOTH, AHEAD, None, **said(yes=True, confirmed="late"))


def test_without_a_terminal_nobody_is_asked() -> None:
    with pytest.raises(TercetError, match=r"nobody is here to ask.*say --yes"):
        confirm(BOTH, AHEAD, None, **said())


def test_json_has_every_node_with_what_is_lost_or_why_it_is_unknown() -> None:
    late, third = survey_json(BOTH)["nodes"][1:]
    assert late["lost_if_it_leads"] == {"ahead": 200} and late["end"] == "0/64"
    assert third == {"node": "third", "state": "unknown", "reason": "dark"}
