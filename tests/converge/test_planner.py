"""What the planner says, line by line, from facts written down by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tercet.converge.observe import NodeFacts, Observation, PathFact, UnitFact
from tercet.converge.order import in_order
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import plan
from tercet.converge.requests import NO_ANSWER, Answer, Deferred, Exec
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Rolling, Standing, Unit
from tercet.converge.target import Kind, Target, Verb
from tercet.converge.watch import watches
from tercet.inventory.platform import Node, Role

from .world import Part

FILE = File("/etc/a", b"hello")
SAME = PathFact("file", sha256=sha256(b"hello").hexdigest())
PROGRAM = Program("consul", "1.22.7", "ab" * 32, Path("/cache/consul"))
FOLDER = Directory("/etc/conf.d", purge=True)
UNIT = Unit("a.service", restart_on=("/etc/a",))
GET = Exec(("get",))


def nodes(*names: str) -> tuple[Node, ...]:
    return tuple(Node(name, Role.DB, "site") for name in names)


def lines(todo: Plan) -> list[str]:
    return [f"{s.node}: {c.verb} {c.what} ({c.reason})" for s in todo.steps for c in s.changes]


def of_one(
    wanted: Sequence[Resource],
    paths: Mapping[str, PathFact | None] | None = None,
    unit: UnitFact | None = None,
    answers: Mapping[Exec, Answer] | None = None,
) -> list[str]:
    facts = NodeFacts(paths or {}, {"a.service": unit} if unit else {}, dict(answers or {}))
    todo = plan([Part("c", {"n": wanted})], nodes("n"), Observation({"n": facts}), ())
    return [line.removeprefix("n: ") for line in lines(todo)]


@pytest.mark.parametrize(
    ("resource", "found", "expected"),
    [
        (FILE, SAME, []),
        (FILE, None, ["create file /etc/a (absent)"]),
        (FILE, replace(SAME, sha256="00"), ["update file /etc/a (content differs)"]),
        (FILE, replace(SAME, mode=0o600), ["update file /etc/a (mode is 0600, not 0644)"]),
        (FILE, replace(SAME, owner="joe"), ["update file /etc/a (owner is joe:root, not root:root)"]),
        (FILE, replace(SAME, sha256="00", mode=0), ["update file /etc/a (content differs, mode is 0000, not 0644)"]),
        (FILE, PathFact("directory", mode=0o755), ["update file /etc/a (a directory is in its place)"]),
        (FILE, PathFact("link", mode=0o777, target="/x"), ["update file /etc/a (a link is in its place)"]),
        (FOLDER, None, ["create directory /etc/conf.d (absent)"]),
        (FOLDER, PathFact("directory", mode=0o755), []),
        (FOLDER, PathFact("directory", mode=0o700), ["update directory /etc/conf.d (mode is 0700, not 0755)"]),
        (FOLDER, PathFact("file"), ["update directory /etc/conf.d (a file is in its place)"]),
        (Absent("/etc/a"), None, []),
        (Absent("/etc/a"), SAME, ["remove file /etc/a (must not be there)"]),
        (PROGRAM, PathFact("link", target=PROGRAM.binary, leads=True), []),
        (PROGRAM, None, ["create program consul 1.22.7 (absent)"]),
        (PROGRAM, PathFact("link", target="/opt/old"), ["update program consul 1.22.7 (is /opt/old)"]),
        (PROGRAM, PathFact("file"), ["update program consul 1.22.7 (is a file)"]),
        (
            PROGRAM,
            PathFact("link", target=PROGRAM.binary),
            ["update program consul 1.22.7 (the program behind its link is missing)"],
        ),
    ],
)
def test_paths(resource: File | Directory | Absent | Program, found: PathFact | None, expected: list[str]) -> None:
    path = resource.link if isinstance(resource, Program) else resource.path
    assert of_one([resource], {path: found}) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (UnitFact(), []),
        (UnitFact(active="inactive", sub="dead"), ["start unit a.service (not active (inactive))"]),
        (UnitFact(active="failed", sub="failed"), ["start unit a.service (not active (failed))"]),
        (
            UnitFact(active="activating", sub="auto-restart"),
            ["start unit a.service (not active (activating, auto-restart))"],
        ),
        (UnitFact(file="disabled"), ["enable unit a.service (disabled)"]),
        (UnitFact(file="static"), []),
        (
            UnitFact(load="masked", active="inactive", file="masked"),
            ["enable unit a.service (masked)", "start unit a.service (not active (masked))"],
        ),
        (
            UnitFact(load="not-found", active="inactive", file=""),
            ["enable unit a.service (not-found)", "start unit a.service (not active (not-found))"],
        ),
        (UnitFact(stale=("/etc/a",)), ["restart unit a.service (was started before /etc/a changed)"]),
        (
            UnitFact(daemon_reload=True),
            ["restart unit a.service (its unit file changed and systemd has not read it)"],
        ),
        (UnitFact(stale=("its unit file",)), ["restart unit a.service (was started before its unit file changed)"]),
    ],
)
def test_units(found: UnitFact, expected: list[str]) -> None:
    assert of_one([FILE, UNIT], {"/etc/a": SAME}, found) == expected


def test_a_unit_that_must_not_run_is_stopped_before_anything_else() -> None:
    unwanted = replace(UNIT, active=False, restart_on=())
    assert of_one([FILE, unwanted], {"/etc/a": None}, UnitFact()) == [
        "stop unit a.service (must not run (active))",
        "disable unit a.service (must not run)",
        "create file /etc/a (absent)",
    ]
    assert of_one([unwanted], {}, UnitFact("not-found", "inactive", file="")) == []


def test_restart_wins_over_reload_and_the_reason_names_the_file() -> None:
    both = [FILE, File("/etc/b", b""), replace(UNIT, reload_on=("/etc/b",))]
    same = PathFact("file", sha256=sha256(b"").hexdigest())
    assert of_one(both, {"/etc/a": SAME, "/etc/b": None}, UnitFact())[1:] == [
        "reload unit a.service (its file /etc/b changes)"
    ]
    assert of_one(both, {"/etc/a": None, "/etc/b": None}, UnitFact())[2:] == [
        "restart unit a.service (its file /etc/a changes)"
    ]
    assert of_one(both, {"/etc/a": SAME, "/etc/b": same}, UnitFact(stale=("/etc/b",))) == [
        "reload unit a.service (was started before /etc/b changed)"
    ]


def test_a_mode_alone_restarts_nothing() -> None:
    assert of_one([FILE, UNIT], {"/etc/a": replace(SAME, mode=0o666)}, UnitFact()) == [
        "update file /etc/a (mode is 0666, not 0644)"
    ]


def test_strangers_go_and_restart_who_watches_the_directory() -> None:
    inside = File("/etc/conf.d/known", b"hello")
    unit = Unit("a.service", restart_on=("/etc/conf.d",))
    found = PathFact("directory", mode=0o755, entries=("known", "stranger", "sub"))
    deep = Directory("/etc/conf.d/sub")
    paths = {
        "/etc/conf.d": found,
        "/etc/conf.d/known": SAME,
        "/etc/conf.d/sub": PathFact("directory", mode=0o755),
    }
    assert of_one([FOLDER, inside, deep, unit], paths, UnitFact()) == [
        "remove file /etc/conf.d/stranger (not managed here)",
        "restart unit a.service (its file /etc/conf.d/stranger changes)",
    ]


def test_a_units_own_file_and_drop_ins_count_by_themselves() -> None:
    own = File("/etc/systemd/system/a.service", b"")
    drop_in = File("/etc/systemd/system/a.service.d/x.conf", b"")
    other = File("/etc/systemd/system/ab.service", b"")
    assert watches([own, drop_in, other, Unit("a.service")])["a.service"].paths == (own.path, drop_in.path)


def test_units_that_follow_one_another_are_enabled_before_they_start() -> None:
    units = [Unit("a.service"), Unit("b.service")]
    down = UnitFact(active="inactive", file="disabled")
    facts = NodeFacts({}, {"a.service": down, "b.service": down})
    todo = plan([Part("c", {"n": units})], nodes("n"), Observation({"n": facts}), ())
    assert [(change.verb, change.target.name[0]) for change in todo.steps[0].changes] == [
        ("enable", "a"),
        ("enable", "b"),
        ("start", "a"),
        ("start", "b"),
    ]


# --- nodes ------------------------------------------------------------------------------------------------------


def test_new_stopped_and_silent_nodes() -> None:
    wanted = [FILE, UNIT, Object("login", GET, lambda _: None, ())]
    components = [Part("c", dict.fromkeys(("new", "stopped", "silent"), wanted))]
    infrastructure = (
        Change(Verb.CREATE, Target(Kind.CONTAINER, "new"), "absent"),
        Change(Verb.START, Target(Kind.CONTAINER, "stopped"), "not running"),
    )
    observation = Observation({}, {"silent": "no answer within 5 s"})
    todo = plan(components, nodes("new", "stopped", "silent"), observation, infrastructure)
    assert lines(todo) == [
        "new: create file /etc/a (absent)",
        "new: enable unit a.service (not there yet)",
        "new: start unit a.service (not there yet)",
        "new: change login (not there yet)",
        "stopped: update file /etc/a (unknown while the container is stopped)",
        "stopped: enable unit a.service (unknown while the container is stopped)",
        "stopped: start unit a.service (unknown while the container is stopped)",
        "stopped: change login (unknown while the container is stopped)",
    ]
    assert [(step.node, step.unknown) for step in todo.steps] == [("new", False), ("stopped", True)]
    assert [step.node for step in todo.listed] == ["new"] and todo.stopped == ("stopped",)
    assert todo.unreachable == (("silent", "no answer within 5 s"),)
    assert todo.away == {"silent"} and not todo.waiting
    assert Plan(unreachable=todo.unreachable).empty, "there is nothing to be done now"


# --- deferred content ---------------------------------------------------------------------------------------------

ADDRESS = Exec(("address",))


def hosts() -> File:
    def render(answers: Mapping[str, Answer]) -> bytes:
        if not answers["other"].ok:
            raise LookupError("other has no address")
        return answers["other"].text.encode()

    return File("/etc/hosts", Deferred("all have an address", {"other": ADDRESS}, render))


def deferred(answer: Answer | None, found: PathFact | None) -> list[str]:
    unit = Unit("a.service", reload_on=("/etc/hosts",))
    facts = {"n": NodeFacts({"/etc/hosts": found}, {"a.service": UnitFact()})}
    if answer:
        facts["other"] = NodeFacts(answers={ADDRESS: answer})
    return lines(plan([Part("c", {"n": [hosts(), unit]})], nodes("n", "other"), Observation(facts), ()))


def test_late_content_is_compared_when_it_is_known() -> None:
    assert deferred(Answer(0, "hello"), SAME) == []
    assert deferred(Answer(0, "other"), SAME) == [
        "n: update file /etc/hosts (content differs)",
        "n: reload unit a.service (its file /etc/hosts changes)",
    ]


def test_late_content_that_is_not_known_yet_says_so() -> None:
    unknown = [
        "n: update file /etc/hosts (content is known once all have an address)",
        "n: reload unit a.service (its file /etc/hosts may change)",
    ]
    assert deferred(Answer(1), SAME) == unknown
    assert deferred(None, SAME) == unknown
    assert deferred(None, None)[0] == "n: create file /etc/hosts (content is known once all have an address)"


# --- objects ----------------------------------------------------------------------------------------------------


def role(name: str = "role", **more: object) -> Object:
    differs = lambda answer: None if answer.ok else f"it is not there: {answer.why()}"  # noqa: E731
    return replace(Object(name, GET, differs, ()), **more)  # type: ignore[arg-type]


def test_objects_are_judged_by_their_probe() -> None:
    assert of_one([role()], answers={GET: Answer(0)}) == []
    refused = Answer(-1, error="connection refused")
    assert of_one([role()], answers={GET: refused}) == ["change role (it is not there: connection refused)"]


def test_an_object_of_nobody_goes_to_the_first_node_that_answers() -> None:
    shared = role(on=("a", "b", "c"))
    wanted = [Part("x", {name: [shared] for name in "abc"})]
    bad = NodeFacts(answers={GET: Answer(1, error="no")})
    assert lines(plan(wanted, nodes(*"abc"), Observation({"b": bad, "c": bad}, {"a": "silent"}), ())) == [
        "b: change role (it is not there: status 1: no)"
    ]
    assert [step.node for step in plan(wanted, nodes(*"abc"), Observation({}, {"a": "silent"}), ()).steps] == ["b"]
    assert plan(wanted, nodes(*"abc"), Observation({}, dict.fromkeys("abc", "silent")), ()).steps == ()


def test_an_object_of_nobody_is_judged_where_its_program_runs() -> None:
    """One that does not run says nothing of the object: a difference would be missed."""
    shared = Object("setting", GET, lambda answer: "it differs" if answer.text == "old" else None, (), on=("a", "b"))
    stopped, running = NodeFacts(answers={GET: Answer(7, "")}), NodeFacts(answers={GET: Answer(0, "old")})
    wanted = [Part("x", {"a": [shared]})]
    assert lines(plan(wanted, nodes(*"ab"), Observation({"a": stopped, "b": running}), ())) == [
        "b: change setting (it differs)"
    ]


def test_an_object_that_is_held_is_planned_at_its_holder_and_without_one_at_the_first_that_answers() -> None:
    held = role(on=("a", "b", "c"), here=lambda answer: answer.status in (0, 1))
    standby, bad = NodeFacts(answers={GET: Answer(2)}), NodeFacts(answers={GET: Answer(1, error="no")})

    def planned(**facts: NodeFacts) -> list[str]:
        return lines(plan([Part("x", {"a": [held]})], nodes(*"abc"), Observation(facts), ()))

    assert planned(a=standby, b=bad, c=standby) == ["b: change role (it is not there: status 1: no)"]
    assert planned(a=standby, b=standby, c=NodeFacts(answers={GET: Answer(0)})) == []
    for nobody in ({"c": standby}, {"b": bad, "c": bad}):
        assert [line[:14] for line in planned(a=standby, **nobody)] == ["a: change role"]


def test_an_object_that_follows_another_is_planned_with_it() -> None:
    follower = role("restart", follows=("setting",))
    components = [Part("later", {"n": [follower]}, ("first",)), Part("first", {"m": [role("setting")]})]

    def planned(setting: Answer) -> list[str]:
        facts = {"m": NodeFacts(answers={GET: setting}), "n": NodeFacts(answers={GET: Answer(0)})}
        return lines(plan(components, nodes("m", "n"), Observation(facts), ()))

    assert planned(Answer(0)) == []
    assert planned(Answer(1, "x"))[1:] == ["n: change restart (setting changes)"]


@pytest.mark.parametrize("after", [(), ("first",)])
def test_an_object_that_follows_what_nobody_manages_before_it_is_a_mistake(after: tuple[str, ...]) -> None:
    wrong = "seting" if after else "setting"
    follower = role("restart", follows=(wrong,))
    components = [Part("first", {"m": [role("setting")]}), Part("later", {"m": [follower]}, after)]
    with pytest.raises(ValueError, match=f"restart of later follows {wrong}, which nothing before it manages"):
        plan(components, nodes("m"), Observation({}), ())


# --- rolling ----------------------------------------------------------------------------------------------------


def standing(answer: Answer) -> Standing:
    return Standing(answer.text) if answer.ok else Standing.DOWN


SERVERS = Rolling("servers", GET, standing)


def in_turn(
    standings: Mapping[str, str], units: Mapping[str, UnitFact], clients: Collection[str] = ()
) -> list[tuple[str, str | None]]:
    server = replace(UNIT, rolling=SERVERS)
    client = replace(UNIT, rolling=Rolling("clients", GET, standing, client=True))
    facts = {
        name: NodeFacts(
            {"/etc/a": None}, {"a.service": units.get(name, UnitFact())}, {GET: Answer(0, each) if each else NO_ANSWER}
        )
        for name, each in standings.items()
    }
    wanted = {name: [FILE, client if name in clients else server] for name in standings}
    todo = plan([Part("c", wanted)], nodes(*standings), Observation(facts), ())
    return [(step.node, step.group) for step in todo.steps]


def test_running_members_are_taken_one_at_a_time_the_leader_last() -> None:
    order = [("b", "servers"), ("c", "servers"), ("a", "servers")]
    assert in_turn({"a": "leader", "b": "follower", "c": "follower"}, {}) == order


def test_servers_are_taken_before_their_clients_and_the_client_beside_the_leader_last() -> None:
    standings = {"a": "leader", "b": "follower", "c": "leader", "d": "follower"}
    order = [("d", "servers"), ("c", "servers"), ("b", "clients"), ("a", "clients")]
    assert in_turn(standings, {}, clients=("a", "b")) == order


def test_members_that_do_not_run_or_do_not_serve_disturb_nobody_and_come_first() -> None:
    down = {"b": UnitFact(active="failed")}
    order = [("b", None), ("a", "servers"), ("c", "servers")]
    assert in_turn({"a": "follower", "b": "follower", "c": "leader"}, down) == order
    order = [("c", None), ("a", "servers"), ("b", "servers")]
    assert in_turn({"a": "follower", "b": "leader", "c": ""}, {}) == order


# --- mistakes of components ---------------------------------------------------------------------------------------


def test_the_order_of_components() -> None:
    parts = [Part("d", after=("b", "c")), Part("c", after=("a",)), Part("b", after=("a",)), Part("a")]
    assert [part.name for part in in_order(parts)] == ["a", "c", "b", "d"]
    with pytest.raises(ValueError, match=r"b comes after \['x'\]"):
        in_order([Part("b", after=("x",))])
    with pytest.raises(ValueError, match="after one another: \\['a', 'b'\\]"):
        in_order([Part("a", after=("b",)), Part("b", after=("a",))])


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([Part("a", {"n": [UNIT]})], "a.service of a watches /etc/a, which nothing before it manages"),
        ([Part("a", {"n": [UNIT, FILE]})], "which nothing before it manages"),
        ([Part("a", {"n": [FILE]}), Part("b", {"n": [UNIT]})], "which nothing before it manages"),
        (
            [Part("a", {"n": [FILE]}), Part("b", {"n": [replace(FILE, mode=0o600)]})],
            "a and b want /etc/a in two different ways",
        ),
    ],
)
def test_components_must_not_contradict_each_other(parts: list[Part], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        plan(parts, nodes("n"), Observation({}), ())


def test_what_is_shared_or_comes_from_before_is_no_contradiction() -> None:
    parts = [
        Part("a", {"n": [FILE, FILE]}),
        Part("b", {"n": [UNIT]}, ("a",)),
        Part("c", {"n": [FILE, Unit("b.service", restart_on=("/etc/a",))]}),
    ]
    todo = plan(parts, nodes("n"), Observation({}), ())
    assert [len(step.changes) for step in todo.steps] == [1, 2, 3]


def test_secrets_stay_out_of_the_plan() -> None:
    todo = plan([Part("c", {"n": [File("/etc/s", b"hunter2", secret=True)]})], nodes("n"), Observation({}), ())
    assert "hunter2" not in repr(todo)


# --- restarts of nodes ------------------------------------------------------------------------------------------


MEMBER = Unit("a.service", rolling=SERVERS)


def restart_of(node: str) -> Change:
    return Change(Verb.RESTART, Target(Kind.CONTAINER, node), "a setting takes effect when it starts", restarts=node)


def member(standing: str, active: str = "active") -> NodeFacts:
    return NodeFacts({}, {"a.service": UnitFact(active=active)}, {GET: Answer(0, standing)})


def test_nodes_that_serve_are_restarted_last_and_in_the_last_turn_of_their_units() -> None:
    other = Unit("b.service", rolling=Rolling("others", Exec(("other",)), standing, client=True))
    leads = member("follower")
    leads = replace(
        leads,
        units={**leads.units, "b.service": UnitFact()},
        answers={**leads.answers, Exec(("other",)): Answer(0, "leader")},
    )
    seen = {
        "primary": member("leader"),
        "leader": leads,
        "standby": member("follower"),
        "down": member("leader", "activating"),
    }
    components = [Part("c", {**{name: [MEMBER] for name in seen}, "leader": [MEMBER, other]})]
    first = Change(Verb.GROW, Target(Kind.CONTAINER, "primary", text="disk of primary"), "smaller")
    infrastructure = (first, *(restart_of(name) for name in (*seen, "silent", "unknown")))
    todo = plan(components, nodes(*seen, "silent"), Observation(seen, {"silent": "no answer"}), infrastructure)
    assert [change.restarts for change in todo.restarts] == ["standby", "primary", "leader"]
    assert [change.restarts for change in todo.infrastructure] == ["", "down", "silent", "unknown"]
