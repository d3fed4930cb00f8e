"""A plan as people and programs see it."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tercet.cli.render import plan_json, render_plan, summary
from tercet.components.rolling import in_turn
from tercet.converge.plan import Change, Held, Plan, Step
from tercet.converge.resources import File
from tercet.converge.target import Kind, Target, Verb

SECRET = File("/etc/patroni/patroni.yml", b"password: hunter2", mode=0o640, secret=True)

PLAN = Plan(
    infrastructure=(Change(Verb.CREATE, Target(Kind.CONTAINER, "db-fsn-01"), "absent"),),
    steps=(
        Step(
            "consul",
            "consul-nomad-sib-01",
            (
                Change(Verb.UPDATE, Target(Kind.FILE, "/etc/consul.d/agent.json"), "content differs"),
                Change(Verb.RESTART, Target(Kind.UNIT, "consul.service"), "its file /etc/consul.d/agent.json changes"),
            ),
            in_turn("consul servers"),
        ),
        Step("patroni", "db-sib-01", (Change(Verb.CREATE, Target(Kind.FILE, SECRET.path), "absent", SECRET),)),
        Step(
            "consul", "apps-sib-01", (Change(Verb.START, Target(Kind.UNIT, "consul.service"), "not active (failed)"),)
        ),
        Step("patroni", "db-sib-01", (Change(Verb.START, Target(Kind.UNIT, "patroni.service"), "absent"),)),
    ),
    unreachable=(("db-sib-03", "no answer within 15 s"),),
)


def object_(name: str) -> Target:
    return Target(Kind.OBJECT, name, text=name)


def shown(plan: Plan, *, width: int = 80) -> str:
    out = io.StringIO()
    render_plan(plan, Console(file=out, width=width))
    return out.getvalue()


def test_a_plan_is_grouped_by_component_then_node() -> None:
    assert shown(PLAN) == (
        "containers and networks\n"
        "  create   container db-fsn-01  absent\n"
        "consul\n"
        "  consul-nomad-sib-01  (one node at a time)\n"
        "    update   file /etc/consul.d/agent.json  content differs\n"
        "    restart  unit consul.service            its file /etc/consul.d/agent.json changes\n"
        "  apps-sib-01\n"
        "    start    unit consul.service  not active (failed)\n"
        "patroni\n"
        "  db-sib-01\n"
        "    create   file /etc/patroni/patroni.yml  absent\n"
        "    start    unit patroni.service           absent\n"
        "not read\n"
        "  db-sib-03  no answer within 15 s\n"
        "6 changes on 3 nodes: 2 create, 1 update, 2 start, 1 restart. "
        "1 node could not be read, so the changes there are unknown.\n"
    )


def test_an_empty_plan_says_so() -> None:
    assert shown(Plan()) == "Nothing to change.\n"
    assert plan_json(Plan()) == {
        "empty": True,
        "changes": {},
        "infrastructure": [],
        "steps": [],
        "stopped": [],
        "restarts": [],
        "destructions": [],
        "waiting": [],
        "unreachable": [],
    }


def test_what_waits_is_shown_by_the_site_that_it_waits_for() -> None:
    change = Change(Verb.CHANGE, object_("PostgreSQL of db-sib-01"), "max_connections needs a restart of PostgreSQL")
    waiting = (
        Held("restarts", "db-sib-01", (change,), ("fsn-01",), "postgresql is without db-fsn-01 already"),
        Held(
            "dcs",
            "apps-sib-01",
            (Change(Verb.RESTART, Target(Kind.UNIT, "consul-dcs.service"), "x"),),
            ("fsn-01",),
            "dcs",
        ),
    )
    plan = Plan(waiting=waiting, unreachable=(("db-fsn-01", "db-fsn-01: its server lost power"),))
    assert shown(plan) == (
        "waits for fsn-01\n"
        "  db-sib-01  postgresql is without db-fsn-01 already\n"
        "    change   PostgreSQL of db-sib-01  max_connections needs a restart of PostgreSQL\n"
        "  apps-sib-01  dcs\n"
        "    restart  unit consul-dcs.service  x\n"
        "not read\n"
        "  db-fsn-01  its server lost power\n"
        "Nothing can be changed now. 2 changes wait for fsn-01. "
        "1 node could not be read, so the changes there are unknown.\n"
    )
    data = plan_json(plan)
    assert data["empty"] is True and data["changes"] == {}
    assert data["waiting"][0] == {
        "component": "restarts",
        "node": "db-sib-01",
        "for": ["fsn-01"],
        "reason": "postgresql is without db-fsn-01 already",
        "changes": [
            {
                "verb": "change",
                "what": "PostgreSQL of db-sib-01",
                "target": {"kind": "object", "name": "PostgreSQL of db-sib-01"},
                "reason": "max_connections needs a restart of PostgreSQL",
            }
        ],
    }


def test_restarts_of_containers_come_last() -> None:
    change = Change(
        Verb.RESTART, Target(Kind.CONTAINER, "db-sib-01"), "features takes effect when it starts", restarts="db-sib-01"
    )
    plan = Plan(restarts=(change,))
    assert not plan.empty
    assert shown(plan) == (
        "restarts of containers  (one at a time, while all else is healthy)\n"
        "  restart  container db-sib-01  features takes effect when it starts\n"
        "1 change: 1 restart.\n"
    )
    assert plan_json(plan)["restarts"] == [
        {
            "verb": "restart",
            "what": "container db-sib-01",
            "target": {"kind": "container", "name": "db-sib-01"},
            "reason": "features takes effect when it starts",
        }
    ]


def test_a_stopped_node_is_one_line_whatever_it_may_need() -> None:
    """Its steps are carried out all the same: each change is compared once the node runs."""
    unknown = tuple(
        Change(Verb.UPDATE, Target(Kind.FILE, f"/etc/{number}"), "unknown while the container is stopped")
        for number in range(54)
    )
    steps = (
        Step("consul", "apps-sib-03", unknown[:30], unknown=True),
        Step("nomad", "apps-sib-03", unknown[30:], unknown=True),
        Step("nomad", "apps-sib-01", (Change(Verb.RELOAD, Target(Kind.UNIT, "nomad.service"), "why"),)),
    )
    start = Change(Verb.START, Target(Kind.CONTAINER, "apps-sib-03"), "stopped")
    held = Held("dcs", "db-sib-03", unknown, ("fsn-01",), "it comes after consul, which waits", unknown=True)
    plan = Plan((start,), steps, waiting=(held, replace(held, component="patroni")))
    assert shown(plan) == (
        "containers and networks\n"
        "  start    container apps-sib-03  stopped\n"
        "nomad\n"
        "  apps-sib-01\n"
        "    reload   unit nomad.service  why\n"
        "stopped\n"
        "  apps-sib-03  its changes are known only when it runs\n"
        "  db-sib-03  its changes are known only when it runs\n"
        "waits for fsn-01\n"
        "  db-sib-03  it comes after consul, which waits\n"
        "2 changes on 1 node: 1 start, 1 reload. "
        "On 2 stopped nodes, differences are also changed when they run.\n"
    )
    assert "On 1 stopped node, differences are also changed when it runs" in summary(replace(plan, waiting=()))
    data = plan_json(plan)
    assert data["changes"] == {"start": 1, "reload": 1} and data["empty"] is False
    assert data["stopped"] == ["apps-sib-03", "db-sib-03"]
    assert [step["node"] for step in data["steps"]] == ["apps-sib-01"]
    assert [(each["component"], each["changes"]) for each in data["waiting"]] == [("dcs", []), ("patroni", [])]
    assert len(json.dumps(data)) < 1500


def test_one_change_is_singular() -> None:
    plan = Plan(
        steps=(Step("nomad", "apps-sib-01", (Change(Verb.RELOAD, Target(Kind.UNIT, "nomad.service"), "why"),)),)
    )
    assert summary(plan) == "1 change on 1 node: 1 reload."


def test_json_holds_every_change_and_no_content() -> None:
    document = json.dumps(plan_json(PLAN))
    assert "hunter2" not in document
    assert "hunter2" not in shown(PLAN)
    assert plan_json(PLAN)["steps"][0] == {
        "component": "consul",
        "node": "consul-nomad-sib-01",
        "group": "consul servers",
        "changes": [
            {
                "verb": "update",
                "what": "file /etc/consul.d/agent.json",
                "target": {"kind": "file", "name": "/etc/consul.d/agent.json"},
                "reason": "content differs",
            },
            {
                "verb": "restart",
                "what": "unit consul.service",
                "target": {"kind": "unit", "name": "consul.service"},
                "reason": "its file /etc/consul.d/agent.json changes",
            },
        ],
    }


def test_brackets_are_no_markup() -> None:
    change = Change(Verb.CHANGE, object_("setting [red]"), "it was [/bold]")
    plan = Plan((change,), (Step("a[b]", "node[/x]", (change,)),), (("n", "[/y]"),))
    for part in ("setting [red]", "it was [/bold]", "a[b]", "node[/x]", "[/y]"):
        assert part in shown(plan)


words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
targets = st.builds(Target, st.sampled_from(Kind), words)
changes = st.builds(Change, st.sampled_from(Verb), targets, words)
steps = st.builds(
    Step,
    st.sampled_from(["consul", "nomad"]),
    st.sampled_from(["a", "b"]),
    st.lists(changes, min_size=1, max_size=4).map(tuple),
    st.none() | words.map(in_turn),
)


@settings(deadline=None)
@given(st.builds(Plan, st.lists(changes, max_size=3).map(tuple), st.lists(steps, max_size=6).map(tuple)))
def test_every_change_is_shown_once(plan: Plan) -> None:
    expected = len(plan.infrastructure) + sum(len(step.changes) for step in plan.steps)
    lines = [line for line in shown(plan, width=400).splitlines()[:-1] if line.startswith(("    ", "  "))]
    assert sum(line.split()[0] in set(Verb) and len(line.split()) >= 4 for line in lines) == expected
    document = plan_json(plan)
    assert sum(document["changes"].values()) == expected


def test_a_database_that_goes_has_a_line_of_its_own() -> None:
    gone = Change(Verb.REMOVE, Target(Kind.CONTAINER, "db-old"), "the inventory has no such node; with its DATABASE")
    plan = Plan((Change(Verb.REMOVE, Target(Kind.CONTAINER, "apps-old"), "the inventory has no such node"), gone))
    text = shown(plan)
    before, after = text.split("databases destroyed  (only with --destroy NODE)")
    assert "container apps-old" in before and "db-old" not in before
    assert "container db-old" in after and "2 changes: 2 remove." in after
    assert plan_json(plan)["destructions"] == ["db-old"]


def test_the_lines_that_differ_stand_under_their_change() -> None:
    inside = {("consul-nomad-sib-01", "/etc/consul.d/agent.json"): ("@@ -1 +1 @@", "- [old]", "+ new")}
    out = io.StringIO()
    render_plan(PLAN, Console(file=out, width=80), inside)
    assert (
        "    update   file /etc/consul.d/agent.json  content differs\n"
        "             @@ -1 +1 @@\n"
        "             - [old]\n"
        "             + new\n"
        "    restart  unit consul.service "
    ) in out.getvalue()
    told = json.dumps(plan_json(PLAN, inside))
    assert told.count('"diff"') == 1 and '"- [old]"' in told
    assert '"diff"' not in json.dumps(plan_json(PLAN))
