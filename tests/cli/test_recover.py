"""Who may say yes to which leader."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tercet.cli.commands.recover import confirm
from tercet.cli.recover_view import survey_json
from tercet.errors import TercetError
from tercet.observe.reach import Reach, Survey
from tercet.operations import recover_dcs as recover_dcs_module
from tercet.operations.recover_dcs import Recovered, Standing

from .conftest import Tool

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


@pytest.fixture
def dcs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `recover dcs` finds, and with which leader it goes on."""
    story: dict[str, Any] = {"found": Standing("", False, "", ("ahead",), {}, (), BOTH), "led": []}

    async def look(_session: object, _emit: object) -> Standing:
        found: Standing = story["found"]
        return found

    async def recover_dcs(_session: object, leader: str | None, _survey: Survey, _emit: object) -> Recovered | None:
        story["led"].append(leader)
        return Recovered(leader or "named", {"late": 200})

    monkeypatch.setattr(recover_dcs_module, "look", look)
    monkeypatch.setattr(recover_dcs_module, "recover_dcs", recover_dcs)
    return story


def test_where_dcs_works_nothing_is_changed(tool: Tool, dcs: dict[str, Any]) -> None:
    dcs["found"] = Standing("consul-nomad-sib-01", True, "ahead", (), {}, ())
    status, out, _ = tool("recover", "dcs")
    assert (status, out.partition(":")[0]) == (0, "dcs works")
    assert json.loads(tool("recover", "dcs", "--json")[1]) == {"changed": False, "leader": "ahead"}
    assert dcs["led"] == []


def test_the_survey_is_shown_and_nobody_leads_without_a_word(tool: Tool, dcs: dict[str, Any]) -> None:
    status, out, err = tool("recover", "dcs")
    assert (status, out, dcs["led"]) == (1, "", [])
    assert "LOST IF IT LEADS" in err and "nobody is here to ask, and ahead would lead; say --yes" in err


def test_yes_takes_the_most_wal_and_another_leader_takes_its_name(tool: Tool, dcs: dict[str, Any]) -> None:
    assert tool("recover", "dcs", "--yes")[0] == 0
    assert tool("recover", "dcs", "--leader", "late", "--yes")[0] == 1
    status, out, err = tool("recover", "dcs", "--leader", "late", "--confirm", "late", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["leader"] == "late" and json.loads(out)["lost"] == {"late": 200}
    assert dcs["led"] == ["ahead", "late"]


def test_where_the_leader_is_known_nobody_is_asked(tool: Tool, dcs: dict[str, Any]) -> None:
    dcs["found"] = Standing("consul-nomad-sib-01", True, "ahead", ("late",), {}, ())
    assert tool("recover", "dcs")[:2] == (
        0,
        "named leads, and dcs knows the cluster again. `tercet status` shows the rest.\n",
    )
    assert dcs["led"] == [None]
