"""The dead-peer guard as a node gets it, with a real kernel: what it does, and what it does when it is in trouble."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.nodeside import guard
from tercet.nodeside.tailnet import Tailnet

from .delivery import Systemd, deliver, loopback, replace_program
from .namespaces import Namespaces

SOURCE = guard.__file__.removesuffix("/tercet/nodeside/guard.py")

# A node whose guard holds its peer for silent. It listens on its gossip port and on PostgreSQL's.
NODE = f"""
import socket, sys
sys.path.insert(0, {SOURCE!r})
from tercet.nodeside import guard
peer = sys.argv[1]
listeners = [socket.create_server(("", port)) for port in (9301, 5432)]
guard.install_rule([9301], 2.0)
guard.renew({{peer}})
print("holds", peer, flush=True)
for port in sys.stdin:
    print(sorted(guard.silent_among([peer], int(port), 0.2)), flush=True)
"""


def test_two_that_hold_each_other_for_silent_find_each_other_again() -> None:
    """After a cut both sides do; a rule that stopped the answer to a probe would keep them apart forever."""
    with Namespaces() as spaces:
        one, other = spaces.new(), spaces.new()
        spaces.join(one, other, 1)
        guards = [
            spaces.start(one, sys.executable, "-c", NODE, "10.9.1.2"),
            spaces.start(other, sys.executable, "-c", NODE, "10.9.1.1"),
        ]
        assert [spaces.line(process) for process in guards] == ["holds 10.9.1.2", "holds 10.9.1.1"]
        for process in guards:
            assert process.stdin is not None
            process.stdin.write("9301\n")
            process.stdin.flush()
            assert spaces.line(process) == "[]"


# Holds its peer for silent as the guard does, after the peer has connected.
ONE_SIDED = f"""
import socket, sys
sys.path.insert(0, {SOURCE!r})
from tercet.nodeside import guard
peer = sys.argv[1]
listener = socket.create_server(("", 5432))
guard.install_rule([9301], 60.0)
print("listens", flush=True)
connection = listener.accept()[0]
guard.renew({{peer}})
guard.abort_connections(peer)
print("held", flush=True)
sys.stdin.read()
"""
WAITS = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 5432), 20)
try:
    print(connection.recv(1))
except OSError as error:
    print(type(error).__name__)
"""


def test_a_peer_that_lives_learns_that_its_connection_was_ended() -> None:
    """Only one side takes the other for silent. A program that waits for an answer would wait forever."""
    with Namespaces() as spaces:
        one, other = spaces.new(), spaces.new()
        spaces.join(one, other, 1)
        holds = spaces.start(one, sys.executable, "-c", ONE_SIDED, "10.9.1.2")
        assert spaces.line(holds) == "listens"
        waits = spaces.start(other, sys.executable, "-c", WAITS, "10.9.1.1")
        assert spaces.line(holds) == "held"
        assert spaces.line(waits) == "ConnectionResetError"


def test_only_members_of_the_tailnet_are_believed(capsys: pytest.CaptureFixture[str]) -> None:
    members = [
        {"Name": "a", "Addr": "100.64.0.7", "Status": 4},
        {"Name": "b", "Addr": "100.64.0.8", "Status": 1},
        {"Name": "c", "Addr": "100.64.0.9 }; flush ruleset; #", "Status": 4},
        {"Name": "d", "Addr": "127.0.0.1", "Status": 4},
    ]
    suspects = guard.suspects_among(members, Tailnet("100.64.0.0/10"), {"b": "elsewhere"})
    assert suspects == guard.Suspects({"100.64.0.7": "a"}, {})
    assert capsys.readouterr().out.count("refused") == 2


def test_the_neighbours_of_a_failed_member_are_its_sites_other_nodes() -> None:
    members = [
        {"Name": "db-x", "Addr": "100.64.0.1", "Status": 4},
        {"Name": "apps-x", "Addr": "100.64.0.2", "Status": 1},
        {"Name": "control-x", "Addr": "100.64.0.3", "Status": 3},  # it left
        {"Name": "db-y", "Addr": "100.64.0.4", "Status": 1},
        {"Name": "own", "Addr": "100.64.0.5", "Status": 1},
    ]
    sites = {"db-x": "x", "apps-x": "x", "control-x": "x", "db-y": "y"}
    suspects = guard.suspects_among(members, Tailnet("100.64.0.0/10"), sites)
    assert suspects == guard.Suspects({"100.64.0.1": "db-x"}, {"100.64.0.2": "apps-x"})


# A dcs agent that answers each question with the answer whose name its standard input said last. "slow" takes longer
# than the guard waits, "drips" never ends, "hangs" says nothing.
AGENT = r"""
import json, os, select, socket, sys, threading, time
failed = [{"Name": "peer", "Addr": sys.argv[1], "Status": 4}]
says = ["failed"]
def reply(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
def serve(connection):
    while connection.recv(1000):
        word = says[0]
        if word == "failed": connection.sendall(reply(json.dumps(failed)))
        elif word == "alive": connection.sendall(reply(json.dumps([{**failed[0], "Status": 1}])))
        elif word == "neighbour":
            dead = {"Name": "neighbour", "Addr": "10.9.1.9", "Status": 4}
            connection.sendall(reply(json.dumps([dead, {**failed[0], "Status": 1}])))
        elif word == "broken": connection.sendall(reply("no cluster leader", "500 Internal Server Error"))
        elif word == "nonsense": connection.sendall(reply('{"Status": [4]}'))
        elif word == "headless": connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"); connection.close(); return
        elif word == "slow": time.sleep(1.5); connection.sendall(reply(json.dumps(failed)))
        elif word == "hangs": time.sleep(600)
def listen():
    with socket.create_server(("127.0.0.1", 9500)) as listener:
        while True:
            def one(connection):
                try: serve(connection)
                except OSError: pass
            threading.Thread(target=one, args=listener.accept()[:1], daemon=True).start()
threading.Thread(target=listen, daemon=True).start()
print("answers", flush=True)
for line in sys.stdin:
    says[0] = line.strip()
"""
# Sends a byte over one kept connection whenever it is told to, and says what became of it.
TALKER = r"""
import socket, sys
connection = socket.create_connection((sys.argv[1], 5432), 20)
print("connected", flush=True)
for _ in sys.stdin:
    try:
        connection.sendall(b"x")
        print(connection.recv(1), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
        break
"""
ECHO = r"""
import socket, threading
def serve(connection):
    while data := connection.recv(100):
        connection.sendall(data)
listeners = [socket.create_server(("", port)) for port in (9301, 5432)]
print("listens", flush=True)
while True:
    threading.Thread(target=serve, args=listeners[1].accept()[:1], daemon=True).start()
"""
PEER = "10.9.1.2"


class World:
    """A node with a guard, an agent that calls its only peer failed, and that peer."""

    def __init__(self, folder: Path, spaces: Namespaces) -> None:
        self._folder, self.spaces, self.line = folder, spaces, spaces.line
        self.node, self.peer = spaces.new(), spaces.new()
        spaces.join(self.node, self.peer, 1)
        self.echo = spaces.start(self.peer, sys.executable, "-c", ECHO)
        assert self.line(self.echo) == "listens"
        self.agent = spaces.start(self.node, sys.executable, "-c", AGENT, PEER)
        assert self.line(self.agent) == "answers"
        self.programs = folder / "bin"
        self.programs.mkdir()
        spaces.run(self.node, "nft add table inet tercet_firewall; nft add chain inet tercet_firewall input")
        self.told = folder / "told"  # what systemctl was told
        systemctl = self.programs / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >> {self.told}\n')
        systemctl.chmod(0o755)
        self.systemd = Systemd(folder)

    def guard(self, *, stepped: bool = False) -> subprocess.Popen[str]:
        config = {
            "dcs": loopback(9500)._asdict(),
            "probe_port": 9301,
            "probe_s": 0.2,
            "exempt_ports": [9301],
            "firewall": {"table": "inet tercet_firewall", "unit": "tercet-firewall.service"},
        }
        sites = {"peer": "elsewhere", "neighbour": "elsewhere"}
        command = deliver(self._folder, "guard", {**config, "tailnet": "10.9.0.0/16", "sites": sites}, stepped=stepped)
        environment = {"PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": self.systemd.address}
        return self.spaces.start(self.node, *command, environment=environment)

    def tell(self, process: subprocess.Popen[str], word: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    def cut(self) -> None:
        """The peer is silent, as a machine without power."""
        self.spaces.run(self.peer, "ip link set eth0 down")

    def heal(self) -> None:
        self.spaces.run(self.peer, "ip link set eth0 up")

    def held(self) -> bool:
        """The kernel answers for the peer."""
        listing = self.spaces.run(self.node, "nft -j list set inet tercet_guard silent")
        return any("elem" in each.get("set", {}) for each in json.loads(listing)["nftables"])

    def until_held(self, held: bool = True, seconds: float = 30.0) -> None:
        """On a busy machine an element may expire before it is renewed, and a living peer may be late for a probe."""
        deadline = time.monotonic() + seconds
        while self.held() is not held:
            assert time.monotonic() < deadline


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Namespaces() as spaces:
        world = World(tmp_path, spaces)
        yield world
        world.systemd.close()


@pytest.mark.parametrize("stepped", [False, True])
def test_a_silent_peer_is_refused_until_it_answers_again(world: World, stepped: bool) -> None:
    process = world.guard(stepped=stepped)
    assert world.line(process) == "watching"
    talker = world.spaces.start(world.node, sys.executable, "-c", TALKER, PEER)
    assert world.line(talker) == "connected"
    world.cut()
    assert world.line(process) == f"silent {PEER} peer"
    world.tell(talker, "x")
    assert world.line(talker) in ("ConnectionAbortedError", "ConnectionResetError")
    world.until_held()
    world.heal()
    assert world.line(process) == f"answers again {PEER} peer"
    world.until_held(False, 1.0)  # released: by itself an element that was renewed 0.8 s ago expires after 1.2 s
    assert world.line(process).startswith(f"joined {PEER}:")


def test_a_failed_members_neighbour_is_refused_only_if_it_is_silent_too(world: World) -> None:
    world.tell(world.agent, "neighbour")
    process = world.guard()
    assert [world.line(process), world.line(process)] == ["watching", "silent 10.9.1.9 neighbour"]
    time.sleep(2)  # ten looks, at which the living peer answers
    world.cut()
    assert world.line(process) == f"silent {PEER} peer", "and nothing was said before"
    world.heal()
    assert world.line(process) == f"answers again {PEER} peer"


@pytest.mark.parametrize("trouble", ["broken", "nonsense", "headless", "slow", "hangs"])
def test_an_agent_in_trouble_accuses_nobody_and_keeps_nobody_cut_off(world: World, trouble: str) -> None:
    process = world.guard()
    assert world.line(process) == "watching"
    world.cut()
    assert world.line(process) == f"silent {PEER} peer"
    world.tell(world.agent, trouble)
    assert world.line(process).startswith("the dcs agent gives no answer: ")
    world.until_held()
    world.heal()
    assert world.line(process) == f"answers again {PEER} peer"
    assert process.poll() is None


@pytest.mark.parametrize(("awake", "asleep", "times"), [(1.0, 10.0, 1), (0.002, 0.5, 20)])
def test_its_own_pause_is_no_peers_silence(world: World, awake: float, asleep: float, times: int) -> None:
    """Suspended for 10 s, and starved: 2 ms of each half second. Gossip calls a living peer failed all the time."""
    process = world.guard()
    assert world.line(process) == "watching"
    for _ in range(times):
        time.sleep(awake)
        process.send_signal(signal.SIGSTOP)
        time.sleep(asleep)
        process.send_signal(signal.SIGCONT)
    time.sleep(2)
    assert not world.held()
    world.cut()
    said = world.line(process)
    if said.startswith("the dcs agent gives no answer"):  # it was given too late, which accuses nobody
        said = world.line(process)
    assert said == f"silent {PEER} peer", "and nobody was accused before"


def test_when_it_is_suspended_or_dead_its_rule_soon_holds_nobody(world: World) -> None:
    process = world.guard()
    assert world.line(process) == "watching"
    world.cut()
    assert world.line(process) == f"silent {PEER} peer"
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    assert not world.held()
    process.send_signal(signal.SIGCONT)
    world.until_held()


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("echo no netlink today >&2; exit 1", "nft: no netlink today"),
        ("exec sleep 99", "nft: still running after 5 s, killed"),
    ],
)
def test_without_its_rule_it_is_not_ready_and_says_why_once(world: World, fails: str, reason: str) -> None:
    fake = replace_program(world.programs, "nft", f"cat > /dev/null; {fails}")
    process = world.guard()
    assert world.line(process) == f"cannot install the rule: {reason}"
    time.sleep(3)
    fake.unlink()
    assert world.line(process) == "watching"
    told = world.systemd.until("READY=1")
    assert told[0] == f"STATUS=cannot install the rule: {reason}"


def test_when_nft_fails_later_it_ends(world: World) -> None:
    process = world.guard()
    assert world.line(process) == "watching"
    replace_program(world.programs, "nft", "echo no netlink today >&2; exit 1")
    world.cut()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == "cannot change the filter: nft: no netlink today\n"


def test_a_flushed_filter_is_noticed(world: World) -> None:
    process = world.guard()
    assert world.line(process) == "watching"
    world.spaces.run(world.node, "nft flush ruleset")
    assert process.wait(guard.CHECK_S + 30) == 1
    assert world.told.read_text() == "--no-block restart tercet-firewall.service\n", "and the firewall is, too"
    assert world.line(world.guard()) == "watching"
    assert not world.held(), "the rule is there again"
