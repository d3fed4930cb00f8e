"""The agent as it really travels: through standard input of a Python of its own."""

from __future__ import annotations

import asyncio
import getpass
import grp
import hashlib
import os
from pathlib import Path

import pytest

from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.node import Made, Outcome, do, margin, observe_node, send
from tercet.converge.observe import ask, observe
from tercet.converge.requests import Active, Deferred, Exec, Http, Request
from tercet.converge.resources import Absent, Directory, File, Program, Unit
from tercet.nodeside.endpoint import Endpoint

from .local import LocalFleet
from .world import World

ME, MINE = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
OWN = {"owner": ME, "group": MINE}
PATIENCE_S = 60.0
DONE, UNCHANGED = Outcome(Made.DONE), Outcome(Made.UNCHANGED)


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    return LocalFleet(tmp_path, ["one", "two"])


async def test_one_look_answers_everything(fleet: LocalFleet) -> None:
    fleet.path("one", "/etc/a").write_text("hello")
    fleet.path("one", "/etc/a").chmod(0o640)
    fleet.path("one", "/usr/local/bin/consul").symlink_to("/nowhere")
    wanted = {
        "one": [
            File("/etc/a", b"hello"),
            File("/etc/b", b""),
            Directory("/etc", purge=True),
            Absent("/etc/systemd/c"),
            Program("consul", "1", "0" * 64, Path("/x")),
            Unit("a.service", restart_on=("/etc/a",)),
        ],
        "gone": [],
        "not running": [],
    }
    seen = await observe(fleet, wanted, frozenset({"one", "gone"}), timeout=PATIENCE_S)
    assert seen.unreachable == {"gone": "gone is not there"}
    facts = seen.nodes["one"]
    by_name = {path.removeprefix(str(fleet.root / "one")): fact for path, fact in facts.paths.items()}
    found = by_name["/etc/a"]
    assert found
    assert (found.kind, found.mode, found.owner) == ("file", 0o640, ME)
    assert found.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert by_name["/etc/b"] is None
    assert by_name["/etc/systemd/c"] is None
    assert by_name["/etc"]
    assert by_name["/etc"].entries == ("a", "systemd")
    link = by_name["/usr/local/bin/consul"]
    assert link
    assert (link.kind, link.target, link.leads) == ("link", "/nowhere", False)
    assert (facts.units["a.service"].active, facts.units["a.service"].stale) == ("active", ())


async def test_all_nodes_are_asked_at_once_and_a_silent_one_says_why(fleet: LocalFleet, tmp_path: Path) -> None:
    """Two nodes wait for one another."""
    meet = f"echo >> {tmp_path}/here; until [ $(wc -l < {tmp_path}/here) = 2 ]; do sleep 0.05; done; echo met"
    slow: Request = Exec(("sh", "-c", meet), timeout=PATIENCE_S)
    readings = await ask(
        fleet,
        {"one": {"a": slow, "b": Exec(("echo", "b"))}, "two": {"c": slow}, "gone": {"d": slow}},
        timeout=PATIENCE_S,
    )
    assert readings.get("one", "a").text == readings.get("two", "c").text == "met\n"
    assert readings.get("one", "b").text == "b\n"
    assert not readings.reachable("gone")
    assert (readings.silence("gone"), readings.silence("one")) == ("gone is not there", "")
    assert readings.get("gone", "d").why() == "the node did not answer"


async def test_a_request_that_hangs_costs_its_own_answer_only(fleet: LocalFleet) -> None:
    hangs = Exec(("sleep", "600"), timeout=600)
    for timeout in (4, 40):  # longer where that was not enough to start the agent
        readings = await ask(fleet, {"one": {"hangs": hangs, "works": Exec(("echo", "x"))}}, timeout=timeout)
        if readings.reachable("one"):
            break
    assert readings.get("one", "works").text == "x\n"
    assert f"still running after {timeout - margin(timeout):g} s" in readings.get("one", "hangs").why()


async def test_what_many_want_to_know_is_asked_once(fleet: LocalFleet, tmp_path: Path) -> None:
    count = Exec(("sh", "-c", f"echo >> {tmp_path}/asked"))
    await ask(fleet, {"one": {"a": count, "b": Exec(count.argv), "c": count}}, timeout=PATIENCE_S)
    assert (tmp_path / "asked").read_text() == "\n"


async def test_a_systemd_that_does_not_say_is_no_answer_and_costs_its_own_alone(fleet: LocalFleet) -> None:
    asked: dict[str, Request] = {"a": Active("a.service", timeout=0.5), "echo": Exec(("echo", "x"))}
    for script, why in (("echo 'no bus' >&2; exit 1", "no bus"), ("sleep 600", "still running after 0.5 s, killed")):
        fleet.path("one", "/bin/systemctl").write_text(f"#!/bin/sh\n{script}\n")
        readings = await ask(fleet, {"one": asked}, timeout=PATIENCE_S)
        answer = readings.get("one", "a")
        assert (answer.status, answer.text) == (-1, "") and why in answer.why()
        assert readings.get("one", "echo").text == "x\n"


async def test_systemd_is_asked_once_for_all_units_of_a_look(fleet: LocalFleet) -> None:
    fleet.path("one", "/shown").write_text("ActiveState=activating\nStatusText=no nft today\n")
    asked: list[Request] = [Active("a.service"), Active("b.service")]
    said, answers = await observe_node(
        fleet, "one", asked, units={"b.service": (), "c.service": ()}, timeout=PATIENCE_S
    )
    assert [answer.why() for answer in answers] == ["status 3: no nft today"] * 2
    assert [answer.text for answer in answers] == ["activating"] * 2
    assert [state["ActiveState"] for state in said["units"].values()] == ["activating"] * 2
    (call,) = fleet.calls("one")
    assert call.split()[-3:] == ["b.service", "c.service", "a.service"]


async def test_each_unit_has_its_own_answer(tmp_path: Path) -> None:
    world = World(tmp_path, ["one"])
    world.machines["one"].systemd.service("b.service").active = "active"
    readings = await ask(world, {"one": {name: Active(f"{name}.service") for name in "ab"}}, timeout=PATIENCE_S)
    assert [readings.get("one", name).text for name in "ab"] == ["inactive", "active"]
    assert [readings.get("one", name).ok for name in "ab"] == [False, True]


async def test_changes_are_made_in_order_and_what_is_so_stays(fleet: LocalFleet) -> None:
    def file(path: str, content: str, mode: int = 0o600) -> dict[str, object]:
        return {"do": "file", "path": path, "content": content, "mode": mode, **OWN}

    binary = "AP8="  # 00 ff
    wanted = [
        {"do": "directory", "path": "/etc/d", "mode": 0o750, "keep": ["f"], **OWN},
        file("/etc/d/f", binary),
        {"do": "enable", "unit": "a.service"},
        {"do": "run", "name": "a.service", "reload": [], "gently": False},
    ]
    watch = {"a.service": ["/etc/d/f"]}
    assert await do(fleet, "one", wanted, watch) == [DONE, DONE, UNCHANGED, DONE]
    path = fleet.path("one", "/etc/d/f")
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o750
    assert [call for call in fleet.calls("one") if not call.startswith("show")] == ["restart a.service"]
    (path.parent / "stranger").write_text("")
    inode = path.stat().st_ino
    assert await do(fleet, "one", wanted, watch) == [DONE, UNCHANGED, UNCHANGED, UNCHANGED]
    assert path.stat().st_ino == inode
    assert [entry.name for entry in path.parent.iterdir()] == ["f"]


async def test_the_first_failure_ends_a_script(fleet: LocalFleet) -> None:
    missing = {"do": "file", "path": "/etc/no/such", "content": "", "mode": 0o600, **OWN}
    nobody = {"do": "directory", "path": "/etc/x", "mode": 0o700, "owner": "no-such-user", "group": MINE, "keep": None}
    for wanted, problem in ((missing, "No such file or directory"), (nobody, "no user no-such-user")):
        (outcome,) = await do(fleet, "one", [wanted, {"do": "remove", "path": "/etc/systemd"}], {})
        assert outcome.failed
        assert problem in outcome.reason
    assert fleet.path("one", "/etc/systemd").is_dir()


async def test_two_components_may_bring_the_same_things_at_the_same_time(fleet: LocalFleet) -> None:
    fleet.path("one", "/opt").mkdir()
    wanted = [
        {"do": "directory", "path": "/etc/shared", "mode": 0o755, "keep": None, **OWN},
        {"do": "file", "path": "/etc/shared/f", "content": "AA==", "mode": 0o644, **OWN},
        {"do": "link", "path": "/usr/local/bin/p", "target": "/etc/shared/f"},
    ]
    outcomes = await asyncio.gather(*(do(fleet, "one", [dict(one) for one in wanted], {}) for _ in range(6)))
    for of_one in zip(*outcomes, strict=True):  # who comes first with one thing may be second with the next
        assert of_one.count(DONE) == 1 and of_one.count(UNCHANGED) == 5


async def test_a_program_arrives_whole_or_not_at_all(fleet: LocalFleet) -> None:
    data = os.urandom(3_000_000)
    digest = hashlib.sha256(data).hexdigest()
    target = f"/opt/tercet/programs/p/{digest}/p"
    fleet.path("one", "/opt").mkdir()
    assert "sha256" in await send(fleet, "one", data[:-1], target, digest)
    assert list(fleet.path("one", target).parent.iterdir()) == []
    assert await send(fleet, "one", data, target, digest) == ""
    assert fleet.path("one", target).read_bytes() == data
    assert fleet.path("one", target).stat().st_mode & 0o777 == 0o755


async def test_an_agent_that_is_told_to_end_takes_its_programs_along(fleet: LocalFleet, tmp_path: Path) -> None:
    hangs = Exec(("sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 600"), timeout=600)
    task = asyncio.create_task(ask(fleet, {"one": {"hangs": hangs}}, timeout=600))
    async with asyncio.timeout(PATIENCE_S):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    pid = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(PATIENCE_S):
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text():
            await asyncio.sleep(0.01)


async def test_a_node_without_a_working_python_says_what_it_said() -> None:
    class Broken(LocalFleet):
        async def run(self, *_: object, **__: object) -> Completed:  # type: ignore[override]
            return Completed(127, b"", b"python3: command not found\n")

    with pytest.raises(Unreachable, match=r"one ran `python3`, but gave no answer \(status 127\): python3: command"):
        await observe_node(Broken.__new__(Broken), "one", timeout=1)


async def test_late_bytes_cannot_travel(fleet: LocalFleet) -> None:
    deferred = Exec(("cat",), stdin=Deferred("it rains", {}, lambda _: b""))
    with pytest.raises(TypeError, match="not known"):
        await observe_node(fleet, "one", [deferred], timeout=5)


async def test_http_is_asked_by_the_node_itself(fleet: LocalFleet) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"leader"')
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        readings = await ask(fleet, {"one": {"q": Http(Endpoint("127.0.0.1", port), "/v1/x")}}, timeout=PATIENCE_S)
    assert readings.get("one", "q").json() == "leader"
