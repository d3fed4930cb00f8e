"""What the commands that change or prove a platform call, print and leave with."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from tercet.components.patroni.status import MemberStatus, PostgresStatus
from tercet.converge.component import Passing, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.plan import Held, Plan, Step
from tercet.errors import TercetError
from tercet.observe.snapshot import Snapshot
from tercet.observe.verify import Verdict
from tercet.operations import apply as applying
from tercet.operations import switchover as switching
from tercet.operations import up as raising
from tercet.operations.up import Raised
from tercet.session.session import Session

from .conftest import CONTAINER, Tool

STEP = Step("patroni", "db-sib-03", (CONTAINER,))
LEFT = Plan(
    (CONTAINER,),
    unreachable=(("db-fsn-01", "db-fsn-01: its server lost power"),),
    waiting=(Held("patroni", "db-sib-03", (CONTAINER,), ("fsn-01",), "a member is away"),),
)
HOLDS = Verdict("rows are read back", Passing("6 rows"))
BROKEN = Verdict("a job runs", Waiting("none in dc2"))


def test_plan_of_nothing_leaves_with_0(tool: Tool) -> None:
    assert tool("plan") == (0, "Nothing to change.\n", "")
    assert tool.opened == [(Path("tercet.yml"), "")]
    assert tool.provider.done == ["survey"]  # no lock: nothing is changed
    assert tool.provider.closed == 1


def test_plan_with_changes_leaves_with_2(tool: Tool) -> None:
    tool.provider.changes = (CONTAINER,)
    status, out, err = tool("--lab", "plan")
    assert (status, err) == (2, "")
    assert "container db-sib-01" in out and out.splitlines()[-1].startswith("1 change")
    assert tool.opened == [(Path("tercet.yml"), "lab")]
    status, out, _ = tool("plan", "--json")
    assert status == 2
    assert json.loads(out)["changes"] == {"create": 1} and json.loads(out)["empty"] is False


def test_plan_that_only_waits_leaves_with_0(tool: Tool) -> None:
    tool.provider.away = {"db-fsn-01": "db-fsn-01: its server lost power"}
    status, out, _ = tool("plan")
    assert status == 0
    assert "not read\n  db-fsn-01  its server lost power\n" in out


def test_an_inventory_that_is_wrong_stops_every_command_with_1(tool: Tool) -> None:
    Path("tercet.yml").write_text("platfrom: x\n")
    for words in (["plan"], ["apply"], ["up"], ["status"], ["verify"], ["down", "--yes"], ["exec", "n", "--", "ls"]):
        status, out, err = tool(*words)
        assert (status, out) == (1, "")
        assert "tercet.yml:1:1: platfrom: expected one of the keys platform" in err
    assert tool.provider.done == []


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `apply` is called with, and what it comes to."""
    story: dict[str, Any] = {"plan": LEFT}

    async def apply(session: Session, emit: Emit, show: Callable[[Plan], None], destroy: Collection[str]) -> Plan:
        story["destroy"] = tuple(destroy)
        show(story["plan"])
        emit(Event("containers", "done", "one made", seconds=1.0))
        if error := story.get("error"):
            raise error
        plan: Plan = story["plan"]
        return plan

    monkeypatch.setattr(applying, "apply", apply)
    return story


def test_apply_shows_the_plan_then_what_was_done_and_what_waits(tool: Tool, applied: dict[str, Any]) -> None:
    status, out, err = tool("apply", "--destroy", "db-old", "--destroy", "db-older")
    assert status == 0
    assert applied["destroy"] == ("db-old", "db-older")
    plan, _, rest = out.partition("could not be read, so the changes there are unknown.\n")
    assert plan.startswith("containers and networks\n")
    assert rest.startswith("waits for fsn-01\n") and "\nApplied: 1 change" in rest
    assert "containers" in err and "one made" in err  # progress is no part of the result


def test_apply_of_nothing_says_so_once(tool: Tool, applied: dict[str, Any]) -> None:
    applied["plan"] = Plan()
    assert tool("apply")[:2] == (0, "Nothing to change.\n")


def test_apply_for_a_program_is_one_document_and_its_events_are_lines(tool: Tool, applied: dict[str, Any]) -> None:
    status, out, err = tool("apply", "--json")
    assert (status, json.loads(out)["empty"]) == (0, False)
    assert [json.loads(line)["phase"] for line in err.splitlines()] == ["containers"]


def test_apply_that_breaks_off_leaves_with_1_and_its_reason(tool: Tool, applied: dict[str, Any]) -> None:
    applied["error"] = TercetError("consul: waited 180 s")
    status, out, err = tool("apply")
    assert status == 1
    assert "Applied" not in out
    assert err.splitlines()[-1] == "tercet: consul: waited 180 s"


def test_apply_after_ctrl_c_says_how_things_stand(tool: Tool, applied: dict[str, Any]) -> None:
    applied["error"] = KeyboardInterrupt()
    status, _, err = tool("apply")
    assert (status, tool.provider.closed) == (130, 1)
    assert err.endswith("\ntercet: interrupted. No file is half written. `tercet plan` shows what is left to do.\n")


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a look at the platform finds besides that no node answers."""
    found: dict[str, Any] = {"looks": 0, "healthy": False}
    snapshot = Session.snapshot

    async def looked(session: Session) -> Snapshot:
        found["looks"] += 1
        if found["looks"] == found.get("until"):
            raise KeyboardInterrupt
        seen = await snapshot(session)
        return seen.model_copy(update={key: found[key] for key in ("healthy", "postgres") if key in found})

    monkeypatch.setattr(Session, "snapshot", looked)
    return found


@pytest.fixture
def proven(monkeypatch: pytest.MonkeyPatch, healthy: dict[str, Any]) -> dict[str, Any]:
    """What `up` and `verify` come to."""
    story: dict[str, Any] = {"verdicts": [HOLDS], "plan": Plan()}

    async def up(session: Session, emit: Emit, destroy: Collection[str]) -> Raised:
        story["destroy"] = tuple(destroy)
        return Raised(session, story["plan"], story["verdicts"])

    async def prove(session: Session, emit: Emit) -> list[Verdict]:
        emit(Event("verify", "done", "asked"))
        verdicts: list[Verdict] = story["verdicts"]
        return verdicts

    monkeypatch.setattr(raising, "up", up)
    monkeypatch.setattr(raising, "prove", prove)
    healthy["healthy"] = True
    return story


def test_up_ends_with_the_tables_and_the_way_in(tool: Tool, proven: dict[str, Any]) -> None:
    status, out, err = tool("up", "--destroy", "db-old")
    assert (status, err, proven["destroy"]) == (0, "", ("db-old",))
    assert out.startswith("platform tercet: healthy\n")
    assert out.endswith("\nEvery promise was proven. Connect: tercet psql sib-01\n")


def test_up_with_a_broken_promise_leaves_with_1_and_names_it(tool: Tool, proven: dict[str, Any]) -> None:
    proven["verdicts"] = [HOLDS, BROKEN]
    proven["plan"] = LEFT
    status, out, err = tool("up")
    assert status == 1
    assert "waits for fsn-01\n" in out
    assert "Every promise" not in out
    assert err.startswith("✗ a job runs  none in dc2\n") and "rows are read back" not in err


def test_up_for_a_program_has_status_verdicts_and_what_waits(tool: Tool, proven: dict[str, Any]) -> None:
    proven["verdicts"], proven["plan"] = [BROKEN], LEFT
    status, out, _ = tool("--json", "up")
    data = json.loads(out)
    assert status == 1
    assert data["verdicts"] == [{"title": "a job runs", "holds": False, "declared": False, "detail": "none in dc2"}]
    assert data["status"]["platform"] == "tercet"
    assert data["waiting"][0]["for"] == ["fsn-01"] and data["unreachable"][0]["node"] == "db-fsn-01"


def test_verify_has_a_line_for_each_promise(tool: Tool, proven: dict[str, Any]) -> None:
    assert tool("verify") == (0, "✓ rows are read back  6 rows\nAll 1 promises hold.\n", "")
    proven["verdicts"] = [HOLDS, BROKEN]
    status, out, _ = tool("verify")
    assert status == 1
    assert out.splitlines()[1:] == ["✗ a job runs  none in dc2", "1 of 2 promises do not hold."]
    status, out, err = tool("verify", "--json")
    assert status == 1
    assert [one["holds"] for one in json.loads(out)["verdicts"]] == [True, False]
    assert json.loads(err)["phase"] == "verify"


def test_status_leaves_with_1_if_something_is_not_healthy(tool: Tool, healthy: dict[str, Any]) -> None:
    status, out, err = tool("status")
    assert (status, err) == (1, "")
    assert out.startswith("platform tercet: not healthy\n") and "no Patroni answers" in out
    healthy["healthy"] = True
    assert tool("status")[0] == 0
    status, out, _ = tool("status", "--json")
    assert (status, json.loads(out)["healthy"]) == (0, True)


def test_status_watch_looks_again_until_ctrl_c(
    tool: Tool, healthy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tercet.cli.commands.status.WATCH_S", 0.0)
    healthy["until"] = 4
    status, out, err = tool("--json", "status", "--watch")
    assert (status, err, tool.provider.closed) == (130, "\ntercet: interrupted\n", 1)
    assert [json.loads(line)["platform"] for line in out.splitlines()] == ["tercet"] * 3


def test_switchover_refuses_what_is_not_fit_and_changes_nothing(tool: Tool, healthy: dict[str, Any]) -> None:
    status, out, err = tool("switchover")
    assert (status, out) == (1, "")
    assert err == "tercet: there is no primary to switch from: Patroni decides; see `tercet status`\n"
    member = MemberStatus(node="db-sib-03", role="standby", state="starting", lag_bytes=0, sync=True)
    healthy["postgres"] = PostgresStatus(primary="db-sib-01", writable=True, members=[member])
    assert (
        "there is no site nowhere: expected one of sib-01, sib-03, fsn-01" in tool("switchover", "--to", "nowhere")[2]
    )
    assert "db-sib-03 cannot take over: it is starting" in tool("switchover", "--to", "sib-03")[2]
    assert set(tool.provider.done) == {"lock: switchover", "unlock"}


def test_switchover_says_who_leads(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str | None] = []

    async def switchover(session: Session, site: str | None, emit: Emit) -> switching.Switched:
        wanted.append(site)
        return switching.Switched("db-sib-01", "db-sib-03")

    monkeypatch.setattr(switching, "switchover", switchover)
    assert tool("switchover", "--to", "sib-03") == (0, "db-sib-03 is primary, db-sib-01 follows it.\n", "")
    status, out, _ = tool("switchover", "--json")
    assert (status, json.loads(out)) == (0, {"old": "db-sib-01", "new": "db-sib-03"})
    assert wanted == ["sib-03", None]


def test_down_destroys_under_the_lock_and_says_what_stays(tool: Tool) -> None:
    status, out, err = tool("down")
    assert (status, out) == (1, "")
    assert "no terminal to ask on. Add --yes" in err
    assert tool.provider.done == []
    tool.provider.made = (CONTAINER,)
    status, out, err = tool("down", "--yes")
    assert (status, out) == (0, "Platform tercet is gone. Images, the inventory and its secrets stay.\n")
    assert err.splitlines()[0].endswith("container db-sib-01: absent")
    assert tool.provider.done == ["lock: down", "destroy", "unlock"]
    assert tool("down", "--yes", "--json")[1] == ""
