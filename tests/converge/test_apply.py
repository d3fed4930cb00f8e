"""Executing plans: order, rolling restarts, gates, deferred content, objects, and what happens when something fails."""

from __future__ import annotations

import asyncio
import getpass
import grp
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from tercet.converge import deferred, objects
from tercet.converge.apply import apply
from tercet.converge.component import Component, Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Event, silent
from tercet.converge.fleet import Completed
from tercet.converge.observe import observe
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import desired, plan
from tercet.converge.requests import Answer, Deferred, Exec
from tercet.converge.resources import File, Object, Program, Rolling, Standing, Unit
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError

from .world import Machine, Part, World

NAMES = ("one", "two", "three")
OWN = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
STANDING = Exec(("get", "standing"))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RETRY_S", 0.01)
    monkeypatch.setattr(deferred, "INTERVAL_S", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, NAMES)


def service(machine: Machine, name: str, content: str = "1", rolling: Rolling | None = None) -> list[File | Unit]:
    """A unit with one file that it reads."""
    config, own = machine.path(f"/etc/{name}.conf"), machine.path(f"/etc/systemd/system/{name}.service")
    return [
        File(config, content.encode(), **OWN),
        File(own, f"[Service]\nReads={config}".encode(), **OWN),
        Unit(f"{name}.service", restart_on=(config, own), rolling=rolling),
    ]


def everywhere(
    world: World, name: str, content: str = "1", rolling: Rolling | None = None
) -> dict[str, list[File | Unit]]:
    return {node: service(machine, name, content, rolling) for node, machine in world.machines.items()}


async def make_plan(world: World, *components: Component, infrastructure: Sequence[Change] = ()) -> Plan:
    seen = await observe(world, desired(components, world.nodes), world.running, timeout=5)
    return plan(components, world.nodes, seen, infrastructure)


async def converge(world: World, *components: Component, gate_timeout: float = 5) -> list[Event]:
    events: list[Event] = []
    todo = await make_plan(world, *components)
    await apply(todo, components, world.nodes, world, events.append, gate_timeout=gate_timeout)
    return events


def gate(world: World, name: str, log: bool = True) -> Condition:
    """Holds while the unit runs everywhere; notes in the world's log when it is judged."""

    def check(_: Readings) -> State:
        if log:
            world.log.append(("", f"gate {name}"))
        down = [n for n, m in world.machines.items() if m.systemd.service(f"{name}.service").active != "active"]
        return Waiting(f"{', '.join(down)} down") if down else Passing()

    return Condition(f"{name} runs", check, tuple((node, f"{name}.service") for node in world.machines))


# --- order --------------------------------------------------------------------------------------------------------


async def test_a_component_waits_for_the_gates_of_those_before_it(world: World) -> None:
    parts = [
        Part("late", everywhere(world, "late"), ("early", "other"), gate=[gate(world, "late")]),
        Part("early", everywhere(world, "early"), gate=[gate(world, "early")]),
        Part("other", everywhere(world, "other"), gate=[gate(world, "other")]),
    ]
    events = await converge(world, *parts)
    done = [what for _, what in world.log]
    first_late = min(place for place, what in enumerate(done) if what.endswith("late.service"))
    assert {"gate early", "gate other"} <= set(done[:first_late])
    assert done[-1] == "gate late"
    assert [event.phase for event in events if event.state == "done"][-1] == "late"


async def test_only_what_changes_is_gated_and_what_it_comes_right_after(world: World) -> None:
    def parts(content: str) -> list[Part]:
        return [
            Part("a", everywhere(world, "a"), gate=[gate(world, "a")]),
            Part("b", everywhere(world, "b"), ("a",), gate=[gate(world, "b")]),
            Part("c", everywhere(world, "c", content), ("b",), gate=[gate(world, "c")]),
            Part("d", everywhere(world, "d"), ("c",), gate=[gate(world, "d")]),
        ]

    await converge(world, *parts("1"))
    world.log.clear()
    await converge(world, *parts("2"))
    assert [what for _, what in world.log if what.startswith("gate")] == ["gate b", "gate c"]
    assert sorted(world.did("start", "restart", "reload")) == [f"{name} restart c.service" for name in sorted(NAMES)]


async def test_an_empty_plan_does_nothing(world: World) -> None:
    part = Part("a", everywhere(world, "a"), gate=[gate(world, "a")])
    await converge(world, part)
    world.log.clear()
    assert await converge(world, part) == []
    assert world.log == []


async def test_units_of_a_node_start_side_by_side_and_new_ones_without_a_daemon_reload(world: World) -> None:
    machine = world.machines["one"]
    both = [*service(machine, "a")[:2], *service(machine, "b")]
    both.insert(4, service(machine, "a")[2])
    await converge(world, Part("p", {"one": both}))
    assert [what for _, what in world.log] == [
        "enable --root=/ a.service b.service",
        "start a.service",
        "start b.service",
    ]


# --- rolling ------------------------------------------------------------------------------------------------------

ROLLING = Rolling("servers", STANDING, lambda answer: Standing(answer.text) if answer.ok else Standing.DOWN)


async def rolled(world: World) -> list[str]:
    """A first version, running everywhere; the first member leads the others."""
    for machine, standing in zip(world.machines.values(), ("leader", "follower", "follower"), strict=True):
        machine.objects["standing"] = standing
    await converge(world, Part("a", everywhere(world, "a", "1", ROLLING), gate=[gate(world, "a")]))
    world.log.clear()
    return []


async def test_members_restart_one_at_a_time_the_leader_last_each_followed_by_the_gate(world: World) -> None:
    await rolled(world)
    await converge(world, Part("a", everywhere(world, "a", "2", ROLLING), gate=[gate(world, "a")]))
    assert [f"{node} {what}".strip() for node, what in world.log if what != "daemon-reload"] == [
        "gate a",
        "two restart a.service",
        "gate a",
        "three restart a.service",
        "gate a",
        "one restart a.service",
        "gate a",
    ]


async def test_a_member_that_is_down_is_started_before_any_running_one_is_touched(world: World) -> None:
    await rolled(world)
    world.machines["one"].systemd.stop("a.service")
    await converge(world, Part("a", everywhere(world, "a", "2", ROLLING), gate=[gate(world, "a")]))
    assert world.did("start", "restart") == [
        "one start a.service",
        "two restart a.service",
        "three restart a.service",
    ]


async def test_no_running_member_is_disturbed_while_another_is_not_well(world: World) -> None:
    await rolled(world)
    sick = Condition("quorum", lambda _: Waiting("two of three voters"), (("one", "a.service"),))
    with pytest.raises(TercetError, match="two of three voters") as error:
        await converge(world, Part("a", everywhere(world, "a", "2", ROLLING), gate=[sick]), gate_timeout=0.1)
    assert world.did("restart") == []
    assert "No running member of servers was disturbed" in str(error.value)


@pytest.mark.parametrize("alone", [True, False])
async def test_members_that_work_alone_and_serve_no_more_do_not_wait_for_each_other(world: World, alone: bool) -> None:
    """What the plan changes before them has broken all of them, and their own change repairs them."""
    await rolled(world)

    def breaks(_: Readings) -> State:
        if not world.did("restart"):
            for machine in world.machines.values():
                machine.objects.pop("standing", None)
        return Passing()

    def repaired(_: Readings) -> State:
        return Passing() if len(world.did("restart")) == 3 else Waiting("nothing serves")

    first = Part("first", everywhere(world, "first"), gate=[Condition("breaks", breaks)])
    rolling = replace(ROLLING, alone=alone)
    gate = Condition("serve", repaired, (("one", "a.service"),))
    part = Part("a", everywhere(world, "a", "2", rolling), after=("first",), gate=[gate])
    if alone:
        await converge(world, first, part, gate_timeout=0.1)
        assert sorted(world.did("restart")) == [f"{name} restart a.service" for name in ("one", "three", "two")]
    else:
        with pytest.raises(TercetError, match="nothing serves"):
            await converge(world, first, part, gate_timeout=0.1)
        assert world.did("restart") == []


async def test_the_roll_out_stops_at_the_first_member_that_does_not_come_back(world: World) -> None:
    await rolled(world)

    def check(_: Readings) -> State:
        return Waiting("two is no member") if world.did("restart") else Passing()

    part = Part("a", everywhere(world, "a", "2", ROLLING), gate=[Condition("members", check, (("two", "a.service"),))])
    with pytest.raises(TercetError):
        await converge(world, part, gate_timeout=0.1)
    assert world.did("restart") == ["two restart a.service"]
    assert Path(world.machines["one"].path("/etc/a.conf")).read_text() == "1"


# --- failures -----------------------------------------------------------------------------------------------------


async def test_a_gate_that_fails_says_all_an_operator_needs(world: World) -> None:
    world.handlers["journalctl"] = lambda node, *_: (0, f"{node}: panic: no space left\n")
    never = Condition(
        "a: a leader", lambda _: Waiting("no leader (status 500: No cluster leader)"), (("two", "a.service"),)
    )
    with pytest.raises(TercetError) as error:
        await converge(world, Part("a", everywhere(world, "a"), gate=[never]), gate_timeout=0.1)
    assert str(error.value).splitlines() == [
        "a is not healthy after 0.1 s.",
        "a: a leader: no leader (status 500: No cluster leader)",
        "a.service on two is active (running, result success); its journal ends:",
        "  two: panic: no space left",
        "try: tercet exec two -- journalctl --no-pager --lines=100 --unit=a.service",
        "",
        "Carried out, in nodes: a 3 of 3. `tercet apply` finds what is missing and does the rest",
    ]


async def test_a_unit_that_does_not_start_says_all_an_operator_needs(world: World) -> None:
    world.handlers["journalctl"] = lambda *_: (0, "bad configuration\n")
    machine = world.machines["one"]
    wanted = service(machine, "a")
    wanted[1] = replace(wanted[1], content=b"Fails")
    events: list[Event] = []
    part = Part("a", {"one": wanted, "two": service(world.machines["two"], "a")})
    with pytest.raises(TercetError) as error:
        await apply(await make_plan(world, part), [part], world.nodes, world, events.append)
    assert str(error.value).splitlines() == [
        "a on one: start unit a.service failed: it is failed after its start (result: exit-code)",
        "a.service on one is failed (failed, result exit-code); its journal ends:",
        "  bad configuration",
        "try: tercet exec one -- journalctl --no-pager --lines=100 --unit=a.service",
        "",
        "Carried out, in nodes: a 1 of 2. `tercet apply` finds what is missing and does the rest",
    ]
    assert events[-1].state == "failed"
    assert world.machines["two"].systemd.service("a.service").active == "active"


async def test_a_script_whose_end_fails_has_failed_with_its_last_change(world: World) -> None:
    """systemd is told of changed unit files after the last change; a failure of that is not one of the changes."""
    machine = world.machines["one"]

    def wanted(content: bytes) -> Part:
        files = [File(machine.path(f"/etc/systemd/system/{name}.service"), content, **OWN) for name in "ab"]
        return Part("a", {"one": files})

    await converge(world, wanted(b"[Service]"))
    call = machine.systemd.call
    failing = lambda words: (1, "no bus") if words == ["daemon-reload"] else call(words)  # noqa: E731
    with (
        patch.object(machine.systemd, "call", failing),
        pytest.raises(TercetError, match=r"update file \S+/b\.service failed: systemctl daemon-reload: no bus"),
    ):
        await converge(world, wanted(b"[Unit]"))


async def test_a_node_that_was_stopped_is_compared_once_it_runs(world: World) -> None:
    parts = [Part("a", everywhere(world, "a"), gate=[gate(world, "a")])]
    await converge(world, *parts)
    world.log.clear()
    machine = world.machines["one"]
    Path(machine.path("/etc/a.conf")).write_text("changed by hand")
    seen = await observe(world, desired(parts, world.nodes), world.running - {"one"}, timeout=5)
    start = Change(Verb.START, Target(Kind.CONTAINER, "one"), "stopped")
    todo = plan(parts, world.nodes, seen, [start])
    assert todo.stopped == ("one",) and todo.listed == () and len(todo.steps[0].changes) == 4
    machine.reboot()  # as the provider starts it
    events: list[Event] = []
    await apply(todo, parts, world.nodes, world, events.append)
    changed = [event.text for event in events if event.node]
    assert changed == [
        f"update file {machine.path('/etc/a.conf')}: unknown while the container is stopped",
        "start unit a.service: unknown while the container is stopped",
    ]
    assert world.did("restart") == ["one restart a.service"]
    assert await make_plan(world, *parts) == Plan()


async def test_after_a_failure_nothing_new_starts_but_what_runs_is_finished(world: World) -> None:
    release = asyncio.Event()
    broken = Exec(("break",))

    class Slow(World):
        async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
            if node == "two" and b"'do'" in stdin.splitlines()[-1]:
                await release.wait()
            return await super().run(node, argv, stdin=stdin, timeout=timeout)

    world.__class__ = Slow
    world.handlers["break"] = lambda *_: (1, "broken")
    never = Object("x", broken, lambda _: "it is broken", (broken,), settle=0)
    parts = [
        Part("bad", {"one": [never]}),
        Part("after bad", {"one": service(world.machines["one"], "b")}, ("bad",)),
        Part("good", {"two": service(world.machines["two"], "g")}),
        Part("after good", {"two": service(world.machines["two"], "h")}, ("good",)),
    ]
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if event.state == "failed":
            release.set()

    with pytest.raises(TercetError, match="bad on one: change x: still 0 s after the change: it is broken"):
        await apply(await make_plan(world, *parts), parts, world.nodes, world, emit)
    assert world.machines["two"].systemd.service("g.service").active == "active"
    assert world.did("start") == ["two start g.service"]
    assert await make_plan(world, *parts[2:3]) == Plan()


async def test_all_that_failed_is_told(world: World) -> None:
    wanted = {
        name: [File(machine.path("/no/such/folder/file"), b"", **OWN)] for name, machine in world.machines.items()
    }
    with pytest.raises(TercetError) as error:
        await converge(world, Part("a", wanted))
    for name in NAMES:
        assert f"a on {name}: create file" in str(error.value)


async def test_a_node_that_falls_silent_is_an_error_that_names_it(world: World) -> None:
    parts = [Part("a", everywhere(world, "a")), Part("b", everywhere(world, "b"), ("a",))]
    todo = await make_plan(world, *parts)
    world.machines["two"].reachable = False
    with pytest.raises(TercetError) as error:
        await apply(todo, parts, world.nodes, world, silent)
    assert str(error.value).splitlines() == [
        "a on two: two does not answer",
        "",
        "Carried out, in nodes: a 2 of 3, b 0 of 3. `tercet apply` finds what is missing and does the rest",
    ]
    world.machines["two"].reachable = True
    await converge(world, *parts)
    assert (await make_plan(world, *parts)).empty


async def test_cancelled_in_the_middle_the_next_run_finishes(world: World) -> None:
    stuck = asyncio.Event()

    class Stuck(World):
        async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
            if node == "three" and b"'do'" in stdin.splitlines()[-1]:
                stuck.set()
                await asyncio.Event().wait()
            return await super().run(node, argv, stdin=stdin, timeout=timeout)

    world.__class__ = Stuck
    part = Part("a", everywhere(world, "a"), gate=[gate(world, "a")])
    task = asyncio.create_task(converge(world, part))
    await stuck.wait()
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    world.__class__ = World
    await converge(world, part)
    assert await make_plan(world, part) == Plan()


# --- the plan is a promise about the state, not about the steps -------------------------------------------------------


async def test_a_stopped_container_that_turns_out_to_be_right_is_left_alone(world: World) -> None:
    part = Part("a", everywhere(world, "a"))
    await converge(world, part)
    world.log.clear()
    seen = await observe(world, desired([part], world.nodes), frozenset(), timeout=5)
    todo = plan([part], world.nodes, seen, ())
    assert len(todo.steps) == 3
    events: list[Event] = []
    await apply(todo, [part], world.nodes, world, events.append)
    assert world.log == []
    assert [event.text for event in events if event.state == "progress"] == []


async def test_a_container_that_booted_with_old_files_is_restarted_with_the_new(world: World) -> None:
    await converge(world, Part("a", everywhere(world, "a", "1")))
    part = Part("a", everywhere(world, "a", "2"))
    todo = plan([part], world.nodes, await observe(world, desired([part], world.nodes), frozenset(), timeout=5), ())
    for machine in world.machines.values():
        machine.reboot()
    await apply(todo, [part], world.nodes, world, silent)
    for machine in world.machines.values():
        assert machine.systemd.service("a.service").runs_with[machine.path("/etc/a.conf")] == "2"


async def test_what_systemd_alone_remembers_outlives_its_reload(world: World) -> None:
    """A unit file outside of what is managed changed; another component's daemon-reload must not hide it."""
    machine = world.machines["one"]
    foreign = Path(machine.path("/etc/systemd/system/foreign.service"))
    foreign.write_text("[Service]")
    first = Part("first", {"one": service(machine, "a")})
    second = Part("second", {"one": [Unit("foreign.service")]}, ("first",))
    await converge(world, first, second)
    foreign.write_text("[Service]\nNice=1")
    todo = await make_plan(world, Part("first", {"one": service(machine, "b")}), second)
    assert todo.steps[-1].changes[0].reason == "its unit file changed and systemd has not read it"
    await apply(todo, [Part("first", {"one": service(machine, "b")}), second], world.nodes, world, silent)
    assert machine.systemd.service("foreign.service").runs_with["its unit file"] == "[Service]\nNice=1"
    assert (await make_plan(world, Part("first", {"one": service(machine, "b")}), second)).empty


# --- deferred content -------------------------------------------------------------------------------------------------


def addresses(answers: Mapping[str, Answer]) -> bytes:
    for node, answer in answers.items():
        if not answer.ok:
            raise LookupError(f"{node} has no address")
    return " ".join(answer.text for answer in answers.values()).encode()


def hosts(machine: Machine) -> File:
    needs = {name: Exec(("get", "address")) for name in NAMES}
    return File(machine.path("/etc/hosts"), Deferred("all have an address", needs, addresses), **OWN)


def login(machine: Machine, address: str) -> Object:
    probe = Exec(("get", "address"))
    return Object("login", probe, lambda a: None if a.ok else "not logged in", (Exec(("set", "address", address)),))


async def test_late_content_is_known_once_the_objects_before_it_are_there(world: World) -> None:
    wanted = {name: [login(machine, f"at-{name}"), hosts(machine)] for name, machine in world.machines.items()}
    await converge(world, Part("a", wanted))
    for machine in world.machines.values():
        assert Path(machine.path("/etc/hosts")).read_text() == "at-one at-two at-three"
    assert (await make_plan(world, Part("a", wanted))).empty


async def test_late_content_that_never_comes_says_what_was_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred.Resolver.render, "__kwdefaults__", {"deadline": 0.1})
    for name in ("one", "two"):
        world.machines[name].objects["address"] = "x"
    part = Part("a", {"one": [hosts(world.machines["one"])]})
    problem = "create file .*/etc/hosts: waited 0.1 s until all have an address, but three has no address"
    with pytest.raises(TercetError, match=problem):
        await converge(world, part)


async def test_nodes_that_need_the_same_answers_share_one_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "INTERVAL_S", 5)
    for machine in world.machines.values():
        machine.objects["address"] = "x"
    todo = plan(
        [part := Part("a", {name: [hosts(machine)] for name, machine in world.machines.items()})],
        world.nodes,
        await observe(world, {}, frozenset(), timeout=1),
        (),
    )
    await apply(todo, [part], world.nodes, world, silent)
    assert [[call["call"] for call in machine.calls] for machine in world.machines.values()] == [["observe", "do"]] * 3


async def test_a_late_key_is_asked_for_again_each_time(world: World) -> None:
    """A key that is good for one use: every login gets its own, and a login that fails another one."""
    keys = iter("abcdefgh")
    seen: list[bytes] = []
    world.handlers["key"] = lambda *_: (0, next(keys))

    def join(node: str, _: Sequence[str], stdin: bytes) -> tuple[int, str]:
        seen.append(stdin)
        if len(seen) == 1:
            return 1, "try again"
        world.machines[node].objects["address"] = "x"
        return 0, ""

    world.handlers["join"] = join
    key = Deferred("there is a key", {"three": Exec(("key",))}, lambda answers: answers["three"].text.encode())
    wanted = Object("login", Exec(("get", "address")), lambda a: None if a.ok else "out", (Exec(("join",), key),))
    await converge(world, Part("a", {"one": [wanted], "two": [wanted]}))
    assert len(seen) == len(set(seen)) == 3


# --- objects ------------------------------------------------------------------------------------------------------


def setting(value: str, **more: object) -> Object:
    differs: Callable[[Answer], str | None] = lambda a: None if a.text == value else f"is {a.text}"  # noqa: E731
    wanted = Object("setting", Exec(("get", "s")), differs, (Exec(("set", "s", value)),), settle=0)
    return replace(wanted, **more)  # type: ignore[arg-type]


async def test_an_object_is_changed_and_then_agrees(world: World) -> None:
    part = Part("a", {"one": [setting("x")]})
    events = await converge(world, part)
    assert world.did("set") == ["one set s"]
    assert [event.text for event in events if event.state == "progress"] == ["change setting: is no such object"]
    assert (await make_plan(world, part)).empty


async def test_an_object_that_became_right_by_itself_is_left_alone(world: World) -> None:
    part = Part("a", {"one": [setting("x")]})
    todo = await make_plan(world, part)
    world.machines["one"].objects["s"] = "x"
    await apply(todo, [part], world.nodes, world, silent)
    assert world.did("set") == []


async def test_permission_is_asked_before_the_change(world: World) -> None:
    world.machines["two"].objects["data"] = "precious"
    permit: Callable[[dict[str, Answer]], str | None] = lambda a: f"two holds {a['two'].text}"  # noqa: E731
    wanted = setting("x", needs=(("two", Exec(("get", "data"))),), permit=permit)
    with pytest.raises(TercetError, match="a on one: change setting: not changed: two holds precious"):
        await converge(world, Part("a", {"one": [wanted]}))
    assert world.did("set") == []
    await converge(world, Part("a", {"one": [replace(wanted, permit=lambda _: None)]}))
    assert world.did("set") == ["one set s"]


async def test_an_optional_object_that_is_not_permitted_is_left_alone(world: World) -> None:
    wanted = setting("x", permit=lambda _: "two holds data", optional=True)
    events = await converge(world, Part("a", {"one": [wanted]}))
    assert world.did("set") == []
    assert [event.text for event in events if event.state == "progress"] == []


async def test_a_change_is_tried_again_while_its_holder_still_starts(world: World) -> None:
    attempts: list[str] = []

    def moody(node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        attempts.append(node)
        if len(attempts) < 4:
            return 1, "connection refused"
        world.machines[node].objects["s"] = "x"
        return 0, ""

    world.handlers["moody"] = moody
    await converge(world, Part("a", {"one": [setting("x", change=(Exec(("moody",)),), settle=5.0)]}))
    assert len(attempts) == 4


async def test_a_change_that_has_no_effect_is_an_error_with_the_answer(world: World) -> None:
    world.handlers["noop"] = lambda *_: (0, "")
    wanted = setting("x", change=(Exec(("noop",)),), settle=0.05)
    with pytest.raises(
        TercetError, match=r"still 0.05 s after the change: is no such object; the answer was: status 1"
    ):
        await converge(world, Part("a", {"one": [wanted]}))


async def test_what_went_in_does_not_come_out_in_a_message(world: World) -> None:
    world.handlers["psql"] = lambda _n, _a, stdin: (1, "ERROR: syntax error in PASSWORD 'aHVudGVyMg=='")
    secret = Exec(("psql",), stdin=b"ALTER ROLE x PASSWORD 'aHVudGVyMg=='")
    with pytest.raises(TercetError) as error:
        await converge(world, Part("a", {"one": [setting("x", change=(secret,))]}))
    assert "syntax error" in str(error.value)
    assert "aHVudGVy" not in str(error.value)


async def test_an_object_of_nobody_is_changed_once(world: World) -> None:
    world.machines["one"].reachable = False
    shared = setting("x", on=NAMES)
    part = Part("a", {name: [shared] for name in NAMES})
    todo = await make_plan(world, part)
    await apply(todo, [part], world.nodes, world, silent)
    assert world.did("set") == ["two set s"]


PRIMARY: Callable[[Answer], bool] = lambda a: a.ok and a.text != "standby"  # noqa: E731


def held(world: World, primary: str, **more: object) -> Part:
    """One object that is at the primary. Only there it can be changed."""

    def change(node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        if world.machines[node].objects["s"] == "standby":
            return 1, "is no primary"
        world.machines[node].objects["s"] = "x"
        world.log.append((node, "set s"))
        return 0, ""

    world.handlers["change"] = change
    lead(world, primary)
    more = {"settle": 60.0, **more}
    return Part("a", {"one": [setting("x", change=(Exec(("change",)),), on=NAMES, here=PRIMARY, **more)]})


def lead(world: World, primary: str) -> None:
    for name, machine in world.machines.items():
        machine.objects["s"] = "old" if name == primary else "standby"


async def test_an_object_of_the_primary_is_changed_where_the_primary_is_by_then(world: World) -> None:
    part = held(world, "two")
    todo = await make_plan(world, part)
    assert [(step.node, step.changes[0].reason) for step in todo.steps] == [("two", "is old")]
    lead(world, "three")
    events: list[Event] = []
    await apply(todo, [part], world.nodes, world, events.append)
    assert world.did("set") == ["three set s"]
    assert [event.node for event in events if event.state == "progress"] == ["three"]
    assert (await make_plan(world, part)).empty


async def test_a_change_that_the_new_primary_does_not_have_is_made_there_too(world: World) -> None:
    part = held(world, "one")
    todo = await make_plan(world, part)
    change = world.handlers["change"]

    def change_and_die(node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        done = change(node, argv, stdin)
        if node == "one":
            lead(world, "two")
            world.machines["one"].reachable = False
        return done

    world.handlers["change"] = change_and_die
    await apply(todo, [part], world.nodes, world, silent)
    assert world.did("set") == ["one set s", "two set s"]


async def test_a_primary_that_is_demoted_under_the_change_is_left_for_the_next(world: World) -> None:
    part = held(world, "one")
    todo = await make_plan(world, part)
    change = world.handlers["change"]
    moves = iter(("two", "one"))

    def demoted(node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        if primary := next(moves, None):
            lead(world, primary)
        return change(node, argv, stdin)

    world.handlers["change"] = demoted
    await apply(todo, [part], world.nodes, world, silent)
    assert world.did("set") == ["one set s"]


async def test_while_there_is_no_primary_or_two_the_change_waits(world: World) -> None:
    part = held(world, "")
    todo = await make_plan(world, part)
    assert [(step.node, step.changes[0].reason) for step in todo.steps] == [("one", "is standby")]
    doing = asyncio.create_task(apply(todo, [part], world.nodes, world, silent))
    await asyncio.sleep(0.05)
    world.machines["one"].objects["s"] = world.machines["two"].objects["s"] = "old"
    await asyncio.sleep(0.05)
    assert world.did("set") == [] and not doing.done()
    lead(world, "two")
    await doing
    assert world.did("set") == ["two set s"]


async def test_a_primary_that_never_comes_is_an_error_with_what_each_said(world: World) -> None:
    part = held(world, "", settle=0.05, differs=lambda _: "nobody is primary")
    todo = await make_plan(world, part)
    world.machines["two"].reachable = False
    found = "waited 0.05 s, but nobody is primary; .*one: standby; two: the node did not answer; three: standby"
    with pytest.raises(TercetError, match=found):
        await apply(todo, [part], world.nodes, world, silent)
    assert world.did("set") == []


# --- programs -----------------------------------------------------------------------------------------------------


async def test_a_program_is_sent_only_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"#!/bin/sh\n"
    source = tmp_path / "built"
    source.write_bytes(data)
    world = World(tmp_path / "w", NAMES)
    sent: list[str] = []

    class Carrier(World):
        async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
            if argv[3] != "-c":
                return await super().run(node, argv, stdin=stdin, timeout=timeout)
            sent.append(node)
            assert (stdin, argv[-1]) == (data, hashlib.sha256(data).hexdigest())
            Path(argv[-2]).parent.mkdir(parents=True)
            Path(argv[-2]).write_bytes(stdin)
            return Completed(0, b"", b"")

    class Local(Program):
        home = tmp_path / "one"

        @property
        def link(self) -> str:
            return f"{self.home}/link"

        @property
        def binary(self) -> str:
            return f"{self.home}/{self.sha256}/p"

    world.__class__ = Carrier
    Local.home.mkdir()
    program = Local("p", "1", hashlib.sha256(data).hexdigest(), source)
    part = Part("a", {"one": [program]})
    events = await converge(world, part)
    assert [event.text for event in events if event.node] == ["create program p 1: absent"]
    assert (sent, Path(program.link).read_bytes()) == (["one"], data)
    Path(program.link).unlink()
    await converge(world, part)
    assert (sent, Path(program.link).read_bytes()) == (["one"], data)
    assert (await make_plan(world, part)).empty


async def test_a_program_that_is_gone_from_the_operators_machine(world: World, tmp_path: Path) -> None:
    part = Part("a", {"one": [Program("p", "1", "0" * 64, tmp_path / "gone")]})
    with pytest.raises(TercetError, match="gone: No such file or directory; build the image again"):
        await converge(world, part)
