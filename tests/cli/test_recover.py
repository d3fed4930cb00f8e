"""Who may say yes to which leader."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from rich.console import Console

from tercet.cli import prompt
from tercet.cli.commands.recover import confirm
from tercet.cli.recover_sites import confirm as confirm_sites
from tercet.cli.recover_view import alone_json, render_alone, render_back, returned_json, survey_json
from tercet.errors import TercetError
from tercet.observe.beyond import Returned
from tercet.observe.reach import Databases, Reach
from tercet.operations import recover_dcs as recover_dcs_module
from tercet.operations.recover_dcs import DcsState, Recovered
from tercet.operations.rejoin import Back
from tercet.operations.site_alone import Known, SiteState

from .conftest import Tool

AHEAD, LATE = Reach("ahead", "7", 1, 300), Reach("late", "7", 1, 100)
BOTH = Databases((AHEAD, LATE), silent={"third": "dark"})


def said(*, yes: bool = False, confirmed: str | None = None) -> dict[str, Any]:
    return {"yes": yes, "confirmed": confirmed}


async def test_yes_is_enough_where_no_acknowledged_write_can_be_lost() -> None:
    await confirm(BOTH, AHEAD, None, **said(yes=True))


async def test_yes_is_not_enough_for_a_leader_that_lacks_wal_or_for_a_minority() -> None:
    with pytest.raises(TercetError, match=r"other nodes have WAL that late does not have\. Add --confirm late"):
        await confirm(BOTH, LATE, None, **said(yes=True))
    with pytest.raises(TercetError, match=r"1 of 3.*--confirm ahead"):
        await confirm(BOTH, AHEAD, "1 of 3 could be read", **said(yes=True))
    await confirm(BOTH, LATE, "1 of 3 could be read", **said(confirmed="late"))


async def test_the_name_confirmed_must_be_the_leaders() -> None:
    with pytest.raises(TercetError, match="--confirm says late, but ahead would lead"):
        await confirm(BOTH, AHEAD, None, **said(yes=True, confirmed="late"))


async def test_without_a_terminal_nobody_is_asked() -> None:
    with pytest.raises(TercetError, match=r"no terminal to ask on.*Add --yes"):
        await confirm(BOTH, AHEAD, None, **said())


def test_json_has_every_node_with_what_is_lost_or_why_it_is_unknown() -> None:
    late, third = survey_json(BOTH)["nodes"][1:]
    assert late["lost_if_it_leads"] == {"ahead": 200} and late["end"] == "0/64"
    assert third == {"node": "third", "state": "unknown", "reason": "dark"}


@pytest.fixture
def dcs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `recover dcs` finds, and with which leader it goes on."""
    story: dict[str, Any] = {"found": DcsState("", False, "", ("ahead",), {}, (), BOTH), "led": []}

    async def examine(_session: object, _emit: object) -> DcsState:
        found: DcsState = story["found"]
        return found

    async def recover_dcs(_session: object, leader: str | None, _survey: Databases, _emit: object) -> Recovered | None:
        story["led"].append(leader)
        return Recovered(leader or "named", {"late": 200})

    monkeypatch.setattr(recover_dcs_module, "examine", examine)
    monkeypatch.setattr(recover_dcs_module, "recover_dcs", recover_dcs)
    return story


def test_where_dcs_works_nothing_is_changed(tool: Tool, dcs: dict[str, Any]) -> None:
    dcs["found"] = DcsState("consul-nomad-sib-01", True, "ahead", (), {}, ())
    status, out, _ = tool("recover", "dcs")
    assert (status, out.partition(":")[0]) == (0, "dcs works")
    assert json.loads(tool("recover", "dcs", "--json")[1]) == {"changed": False, "leader": "ahead"}
    assert dcs["led"] == []


def test_the_survey_is_shown_and_nobody_leads_without_a_word(tool: Tool, dcs: dict[str, Any]) -> None:
    status, out, err = tool("recover", "dcs")
    assert (status, out, dcs["led"]) == (1, "", [])
    assert "LOST IF IT LEADS" in err
    assert "ahead would lead, but there is no terminal to ask on: nothing was changed. Add --yes" in err


def test_yes_takes_the_most_wal_and_another_leader_takes_its_name(tool: Tool, dcs: dict[str, Any]) -> None:
    assert tool("recover", "dcs", "--yes")[0] == 0
    assert tool("recover", "dcs", "--leader", "late", "--yes")[0] == 1
    status, out, err = tool("recover", "dcs", "--leader", "late", "--confirm", "late", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["leader"] == "late" and json.loads(out)["lost"] == {"late": 200}
    assert dcs["led"] == ["ahead", "late"]


def test_where_the_leader_is_known_nobody_is_asked(tool: Tool, dcs: dict[str, Any]) -> None:
    dcs["found"] = DcsState("consul-nomad-sib-01", True, "ahead", ("late",), {}, ())
    assert tool("recover", "dcs")[:2] == (
        0,
        "named leads, and dcs knows the cluster again. `tercet status` shows the rest.\n",
    )
    assert dcs["led"] == [None]


async def test_nothing_but_the_sites_own_name_agrees_to_going_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    await confirm_sites("fsn-01", "fsn-01", "what it means")
    with pytest.raises(TercetError, match="expected --confirm fsn-01, found yes: nothing was changed"):
        await confirm_sites("yes", "fsn-01", "what it means")
    with pytest.raises(TercetError, match=r"what it means: no terminal to ask on.* Add --confirm fsn-01"):
        await confirm_sites(None, "fsn-01", "what it means")
    monkeypatch.setattr(prompt, "somebody_is_here", lambda: True)
    for typed, agreed in (("fsn-01", True), ("y", False), ("", False)):
        monkeypatch.setattr(prompt, "typed", AsyncMock(return_value=typed))
        if agreed:
            await confirm_sites(None, "fsn-01", "what it means")
        else:
            with pytest.raises(TercetError, match=f"expected fsn-01, found {typed or 'nothing'}"):
                await confirm_sites(None, "fsn-01", "what it means")


STANDING = SiteState(
    "fsn-01",
    ("sib-01", "sib-03"),
    Reach("db-fsn-01", "7", 1, 100, committed="2026-11-27 22:31:22 UTC"),
    known=Known("db-sib-01", ("db-fsn-01", "db-sib-03"), 1, 160),
)
BACK = Back(
    ("sib-01", "sib-03"),
    (),
    (
        Returned("db-sib-01", Reach("db-sib-01", "7", 1, 160), 100, 60, 2, "22:31", "22:32"),
        Returned("db-sib-03"),
    ),
)


def printed(render: Callable[[Console], None]) -> str:
    console = Console(record=True, width=160, file=io.StringIO())
    render(console)
    return console.export_text()


def test_it_says_what_the_site_has_and_what_nobody_can_know() -> None:
    text = printed(lambda console: render_alone(STANDING, console))
    for said in ("stopped", "timeline 1, end of WAL 0/64", "2026-11-27 22:31:22 UTC", "primary db-sib-01"):
        assert said in text
    assert "end of WAL 0/A0; 60 bytes of that are missing here" in text
    assert "whether sib-01 and sib-03 went on without it" in text
    said = alone_json(STANDING)
    assert (said["missing_at_least"], said["known"]["primary"]) == (60, "db-sib-01")


def test_it_says_what_only_returned_databases_have() -> None:
    text = printed(lambda console: render_back(BACK, console))
    assert "60 bytes, 2 transactions, committed from 22:31 to 22:32" in text and "it holds no data" in text
    assert BACK.loses == "db-sib-01 has 2 transactions that the platform does not have"
    first, second = returned_json(BACK)["databases"]
    assert (first["parted_at"], first["bytes_only_there"], second) == (
        "0/64",
        60,
        {"node": "db-sib-03", "state": "empty"},
    )
