"""What waits while nodes cannot be reached: by example, and for any platform that can be generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.converge.observe import NodeFacts, Observation, PathFact, UnitFact
from tercet.converge.plan import Change, Held, Plan
from tercet.converge.planner import plan
from tercet.converge.requests import Answer, Deferred, Exec
from tercet.converge.resources import File, Object, Resource, Rolling, Standing, Unit
from tercet.converge.target import Kind, Target, Verb
from tercet.inventory.platform import Node, Role

from .world import Part

GET = Exec(("get",))
NAMES = ("a1", "a2", "b1", "b2", "c1")
NODES = tuple(Node(name, Role.DB, f"site-{name[0]}") for name in NAMES)


def rolling(group: str = "servers", *, alone: bool = False) -> Rolling:
    return Rolling(group, GET, lambda answer: Standing(answer.text), alone=alone)


def service(name: str = "x", member: Rolling | None = None) -> list[Resource]:
    return [File(f"/etc/{name}", b"new"), Unit(f"{name}.service", restart_on=(f"/etc/{name}",), rolling=member)]


def facts(*units: str, standing: str = "follower", active: str = "active", content: bytes = b"old") -> NodeFacts:
    digest = sha256(content).hexdigest()
    return NodeFacts(
        {f"/etc/{unit}": PathFact("file", sha256=digest) for unit in units},
        {f"{unit}.service": UnitFact(active=active) for unit in units},
        {GET: Answer(0, standing)},
    )


def planned(parts: Sequence[Part], away: Sequence[str], **seen: NodeFacts) -> Plan:
    return plan(parts, NODES, Observation(seen, dict.fromkeys(away, "silent")), ())


def on_all(wanted: Sequence[Resource]) -> dict[str, Sequence[Resource]]:
    return dict.fromkeys(NAMES, wanted)


def every(*units: str, without: Sequence[str] = ()) -> dict[str, NodeFacts]:
    return {name: facts(*units) for name in NAMES if name not in without}


def test_a_group_that_misses_a_member_is_left_alone_files_and_all() -> None:
    parts = [Part("c", on_all(service(member=rolling())))]
    todo = planned(parts, ["c1"], **every("x", without=["c1"]))
    assert todo.steps == () and todo.empty
    assert [(held.node, held.awaits) for held in todo.waiting] == [(name, ("site-c",)) for name in NAMES[:4]]
    assert todo.waiting[0].reason == "servers is without c1 already, and this would take one more"
    assert [change.verb for change in todo.waiting[0].changes] == ["update", "restart"]
    assert planned(parts, [], **every("x")).waiting == ()


def test_it_waits_for_a_site_of_which_nothing_is_reached_and_else_for_the_nodes() -> None:
    parts = [Part("c", on_all(service(member=rolling())))]
    for away, awaits in ((["a1"], ("a1",)), (["a1", "a2"], ("site-a",)), (["a1", "c1"], ("a1", "site-c"))):
        todo = planned(parts, away, **every("x", without=away))
        assert {held.awaits for held in todo.waiting} == {awaits}


def test_members_that_work_alone_and_units_of_no_group_go_on() -> None:
    for member in (rolling(alone=True), None):
        todo = planned([Part("c", on_all(service(member=member)))], ["c1"], **every("x", without=["c1"]))
        assert len(todo.steps) == 4 and todo.waiting == ()


def test_other_groups_go_on() -> None:
    wants = {name: service(member=rolling("far" if name == "c1" else "near")) for name in NAMES}
    todo = planned([Part("c", wants)], ["c1"], **every("x", without=["c1"]))
    assert len(todo.steps) == 4 and todo.waiting == ()


def test_a_member_that_is_down_or_does_not_serve_is_repaired() -> None:
    seen = {**every("x", without=["c1"]), "a1": facts("x", active="failed"), "a2": facts("x", standing="down")}
    todo = planned([Part("c", on_all(service(member=rolling())))], ["c1"], **seen)
    assert [step.node for step in todo.steps] == ["a1", "a2"]
    assert [held.node for held in todo.waiting] == ["b1", "b2"]


def test_a_file_without_a_restart_is_written() -> None:
    wants: list[Resource] = [File("/etc/y", b"new"), *service(member=rolling())]
    seen = {name: facts("x", content=b"new") for name in NAMES[:4]}
    seen = {
        name: NodeFacts({**found.paths, "/etc/y": None}, found.units, found.answers) for name, found in seen.items()
    }
    todo = planned([Part("c", on_all(wants))], ["c1"], **seen)
    assert [[change.what for change in step.changes] for step in todo.steps] == [["file /etc/y"]] * 4
    assert todo.waiting == ()


def test_what_comes_after_a_unit_that_waits_waits_too() -> None:
    parts = [
        Part("first", {"a1": service("x", rolling())} | {"c1": service("x", rolling())}),
        Part("second", {"b1": service("y")}, ("first",)),
        Part("third", {"b2": service("z")}, ("second",)),
        Part("other", {"b2": service("w")}),
    ]
    todo = planned(parts, ["c1"], a1=facts("x"), b1=facts("y"), b2=facts("z", "w"))
    assert [step.component for step in todo.steps] == ["other"]
    assert [(held.component, held.awaits, held.reason) for held in todo.waiting[1:]] == [
        ("second", ("site-c",), "it comes after first, which waits"),
        ("third", ("site-c",), "it comes after first, which waits"),
    ]


def differs(answer: Answer) -> str | None:
    return "is wrong"


def test_what_waits_of_a_stopped_node_is_unknown() -> None:
    parts = [
        Part("first", {name: service("x", rolling()) for name in ("a1", "c1")}),
        Part("second", {"a1": service("y"), "a2": service("y")}, ("first",)),
    ]
    todo = planned(parts, ["c1"], a1=facts("x", "y"))
    assert [(held.component, held.node, held.unknown) for held in todo.waiting] == [
        ("first", "a1", False),
        ("second", "a1", False),
        ("second", "a2", True),
    ]
    assert todo.stopped == ("a2",)


def test_an_object_that_disturbs_waits_and_holds_up_nobody() -> None:
    restart = Object("restart", GET, differs, (), rolling=rolling())
    parts = [Part("first", {"a1": [restart], "c1": [restart]}), Part("second", {"a1": service("y")}, ("first",))]
    todo = planned(parts, ["c1"], a1=facts("y"))
    assert [held.component for held in todo.waiting] == ["first"]
    assert [step.component for step in todo.steps] == ["second"]


def test_what_follows_an_object_that_waits_is_not_planned() -> None:
    first = Object("restart", GET, differs, (), rolling=rolling())
    again = Object("again", GET, lambda _: None, (), follows=("restart",))
    parts = [Part("first", {"a1": [first], "c1": [first]}), Part("second", {"a1": [again]}, ("first",))]
    assert [held.component for held in planned(parts, ["c1"], a1=facts()).waiting] == ["first"]
    assert [step.component for step in planned(parts, [], a1=facts(), c1=facts()).steps] == ["first", "first", "second"]


def test_an_object_that_must_ask_a_node_which_is_away_waits() -> None:
    wanted = Object("cluster", GET, differs, (), needs=(("c1", GET),))
    (held,) = planned([Part("c", {"a1": [wanted]})], ["c1"], a1=facts()).waiting
    assert (held.awaits, held.reason) == (("site-c",), "whether it may be changed depends on c1")


@pytest.mark.parametrize("holder", ["a1", ""])
def test_an_object_of_a_holder_waits_only_if_the_holder_may_be_away(holder: str) -> None:
    wanted = Object("user", GET, differs, (), on=("a1", "b1", "c1"), here=lambda answer: answer.text == "leader")
    seen = {name: facts(standing="leader" if name == holder else "follower") for name in ("a1", "b1")}
    todo = planned([Part("c", {"c1": [wanted]})], ["c1"], **seen)
    assert [step.node for step in todo.steps] == ([holder] if holder else [])
    assert [held.awaits for held in todo.waiting] == ([] if holder else [("site-c",)])
    assert planned([Part("c", {"c1": [wanted]})], [], **seen).waiting == ()


def addresses(known_by_others: bool) -> File:
    def render(answers: Mapping[str, Answer]) -> bytes:
        if "c1" not in answers and not known_by_others:
            raise LookupError("nobody knows c1")
        return b"new"

    return File("/etc/hosts", Deferred("all have an address", dict.fromkeys(NAMES, GET), render))


def test_late_content_does_without_a_node_that_is_away_or_waits_for_it() -> None:
    seen = {name: NodeFacts({"/etc/hosts": PathFact("file")}, {}, {GET: Answer(0)}) for name in NAMES[:4]}
    todo = planned([Part("c", on_all([addresses(True)]))], ["c1"], **seen)
    assert len(todo.steps) == 4 and todo.waiting == ()
    beside = File("/etc/x", b"new")
    seen = {name: NodeFacts({**found.paths, "/etc/x": None}, {}, found.answers) for name, found in seen.items()}
    todo = planned([Part("c", on_all([addresses(False), beside]))], ["c1"], **seen)
    assert [[change.what for change in step.changes] for step in todo.steps] == [["file /etc/x"]] * 4
    assert {(held.changes[0].what, held.awaits, held.reason) for held in todo.waiting} == {
        ("file /etc/hosts", ("site-c",), "its content is known once all have an address")
    }


def test_a_node_that_serves_is_not_restarted_while_another_member_is_away() -> None:
    unit = Unit("x.service", rolling=rolling())
    alone = Unit("x.service", rolling=rolling("proxies", alone=True))
    wants = {"a1": [unit], "a2": [alone], "b1": [alone], "c1": [unit]}
    infrastructure = [
        Change(Verb.RESTART, Target(Kind.CONTAINER, name), "memory", restarts=name) for name in ("a1", "a2")
    ]
    seen = {name: facts("x") for name in ("a1", "a2", "b1")}
    todo = plan([Part("c", wants)], NODES, Observation(seen, {"c1": "silent"}), infrastructure)
    assert [change.restarts for change in todo.restarts] == ["a2"] and todo.infrastructure == ()
    assert todo.waiting == (
        Held(
            "", "a1", (infrastructure[0],), ("site-c",), "servers is without c1 already, and this would take one more"
        ),
    )


def test_a_node_of_which_one_unit_is_down_may_serve_with_the_others_and_is_not_restarted() -> None:
    units: list[Resource] = [Unit("x.service", rolling=rolling()), Unit("y.service", rolling=rolling("others"))]
    seen = NodeFacts({}, {"x.service": UnitFact(), "y.service": UnitFact(active="failed")}, {GET: Answer(0, "0")})
    parts = [Part("c", dict.fromkeys(("a1", "c1"), units))]
    change = Change(Verb.RESTART, Target(Kind.CONTAINER, "a1"), "memory", restarts="a1")
    todo = plan(parts, NODES, Observation({"a1": seen}, {"c1": "silent"}), [change])
    assert todo.infrastructure == todo.restarts == ()
    assert [held.changes for held in todo.waiting] == [(change,)]
    assert plan(parts, NODES, Observation({"a1": seen, "c1": seen}), [change]).infrastructure == (change,)


# --- for any platform ---------------------------------------------------------------------------------------------


@st.composite
def platforms(draw: st.DrawFn) -> tuple[list[Part], dict[str, NodeFacts]]:
    """Components whose units are in a few groups, on nodes of which some run what is wanted and some do not."""
    names = [f"c{number}" for number in range(draw(st.integers(1, 4)))]
    groups = {group: rolling(group, alone=alone) for group, alone in (("g", False), ("h", False), ("i", True))}
    parts = [
        Part(
            name,
            {
                node: service(name, groups.get(draw(st.sampled_from((*groups, "")))))
                for node in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
            },
            tuple(other for other in names[:place] if draw(st.booleans())),
        )
        for place, name in enumerate(names)
    ]
    seen = {
        node: NodeFacts(
            {f"/etc/{name}": PathFact("file", sha256=sha256(draw(CONTENTS)).hexdigest()) for name in names},
            {
                f"{name}.service": UnitFact(active=draw(st.sampled_from(("active", "active", "failed"))))
                for name in names
            },
            {GET: Answer(0, draw(st.sampled_from(("down", "follower", "leader"))))},
        )
        for node in NAMES
    }
    return parts, seen


CONTENTS = st.sampled_from((b"old", b"new"))


@settings(max_examples=300, deadline=None)
@given(platforms(), st.sets(st.sampled_from(NAMES)))
def test_no_running_member_is_disturbed_while_another_is_away_and_nothing_is_lost(
    platform: tuple[list[Part], dict[str, NodeFacts]], away: set[str]
) -> None:
    parts, seen = platform
    members: dict[str, set[str]] = {}
    for part in parts:
        for node, resources in part.wants.items():
            for resource in resources:
                if isinstance(resource, Unit) and resource.rolling:
                    members.setdefault(resource.rolling.group, set()).add(node)
    todo = planned(parts, sorted(away), **{node: found for node, found in seen.items() if node not in away})
    for step in todo.steps:
        assert step.node not in away
        assert step.group in (None, "i") or not members[step.group] & away
    whole = planned(parts, [], **seen)
    assert whole.waiting == ()
    needed = {(step.component, step.node, step.changes) for step in whole.steps if step.node not in away}
    now = {(step.component, step.node, step.changes) for step in todo.steps}
    later = {(held.component, held.node, held.changes) for held in todo.waiting}
    assert not now & later and now | later == needed
    assert all(held.awaits for held in todo.waiting)
    if not away:
        assert todo == whole
