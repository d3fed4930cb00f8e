"""The daemon that keeps two local addresses leading to the right nodes: its choice, and a real kernel doing it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.nodeside import routes

from .namespaces import Namespaces

PRIMARY, READ = "198.18.0.1", "198.18.0.2"
ADDRESSES = ("100.64.0.1", "100.64.0.2", "100.64.0.3")


def test_the_file_is_read_in_order_and_a_node_counts_once() -> None:
    text = (
        "primary 100.64.0.2\nprimary 100.64.0.1\nleader 100.64.0.1\nread 100.64.0.2\nread 100.64.0.3\nread 100.64.0.2\n"
    )
    assert routes.parse(text) == ("100.64.0.1", "100.64.0.1", ["100.64.0.2", "100.64.0.3"])
    assert routes.parse("primary \nhalf a li") == ("", "", [])


def test_a_silent_primary_leads_writes_to_a_standby_that_refuses_them() -> None:
    assert routes.choose("a", ["b", "c"], {"a"}) == ("b", "b")
    assert routes.choose("a", ["b", "c"], {"a", "b"}) == ("c", "c")


def test_without_a_primary_reads_go_on() -> None:
    assert routes.choose("", ["b"], set()) == ("b", "b")
    assert routes.choose("", [], set()) == ("", "")


@given(
    st.sampled_from(("", *ADDRESSES)),
    st.lists(st.sampled_from(ADDRESSES), unique=True),
    st.sets(st.sampled_from(ADDRESSES)),
)
def test_what_answers_is_preferred(primary: str, reads: list[str], silent: set[str]) -> None:
    write, read = routes.choose(primary, reads, silent)
    answering = [address for address in reads if address not in silent]
    assert read == (answering or reads or [""])[0]
    assert write == (primary if primary and primary not in silent else read)


def test_a_session_with_the_primary_alone_is_found() -> None:
    listing = (
        '0 0 198.18.0.1:40001 198.18.0.1:5432 users:(("pgpool",pid=11,fd=9))\n'
        '0 0 198.18.0.2:40002 198.18.0.2:5432 users:(("pgpool",pid=11,fd=10))\n'
        '0 0 198.18.0.1:40003 198.18.0.1:5432 users:(("pgpool",pid=12,fd=9))\n'
        "0 0 198.18.0.1:40004 198.18.0.1:5432\n"
        "torn li"
    )
    assert routes.one_legged(listing, PRIMARY, READ) == {"40003"}
    assert routes.one_legged("", PRIMARY, READ) == set()


def test_an_echo_request_has_a_right_checksum() -> None:
    packet = routes.echo_request(0xABCD)
    total = sum(int.from_bytes(packet[place : place + 2], "big") for place in range(0, 8, 2))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


# A client that prints what it hears through an address and how its connection ends.
CLIENT = r"""
import socket, sys
c = socket.create_connection((sys.argv[1], 5432), 60)
c.settimeout(90)
print(c.recv(100).decode(), flush=True)
try:
    print("heard", c.recv(100))
except OSError as error:
    print(type(error).__name__)
"""
# Says its own address to whoever connects, in a network namespace that stands for one database node.
SERVER = r"""
import socket, sys
listener, kept = socket.create_server(("", 5432)), []
print("listens", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.getsockname()[0].encode())
    kept.append(connection)
"""


class World:
    """An apps node and two database nodes."""

    def __init__(self, folder: Path, spaces: Namespaces) -> None:
        self.file, self.record = folder / "routes", folder / "map"
        self._spaces = spaces
        self.apps = spaces.new()
        self.line, self.run = spaces.line, spaces.run
        self.servers: list[subprocess.Popen[str]] = []
        self._databases = [spaces.new(), spaces.new()]
        for place, database in enumerate(self._databases):
            spaces.join(self.apps, database, place + 1)
            self.serve(place)
        config = {"file": str(self.file), "record": str(self.record), "pid_file": str(folder / "pid")}
        config |= {"primary": PRIMARY, "read": READ, "port": 5432, "user": "somebody"}
        (folder / "routes.json").write_text(json.dumps(config))
        self._daemon = ["python3", "-u", routes.__file__, str(folder / "routes.json")]

    def serve(self, place: int) -> None:
        server = self._spaces.start(self._databases[place], "python3", "-c", SERVER)
        self.servers[place : place + 1] = [server]
        assert self.line(server) == "listens"

    def daemon(self, *lines: str) -> subprocess.Popen[str]:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        return self._spaces.start(self.apps, *self._daemon)

    def change(self, daemon: subprocess.Popen[str], *lines: str) -> None:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        daemon.send_signal(signal.SIGHUP)

    def client(self, address: str) -> subprocess.Popen[str]:
        return self._spaces.start(self.apps, "python3", "-c", CLIENT, address)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Namespaces() as spaces:
        yield World(tmp_path, spaces)


ONE, TWO = "10.9.1.2", "10.9.2.2"


def test_a_change_ends_the_connections_that_lead_elsewhere_and_no_other(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon), world.line(daemon)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    assert world.record.read_text() == f"{PRIMARY} : {ONE}\n{READ} : {TWO}\n"
    write, read = world.client(PRIMARY), world.client(READ)
    assert (world.line(write), world.line(read)) == (ONE, TWO)
    world.change(daemon, f"primary {TWO}", f"read {TWO}")
    assert world.line(daemon) == f"{PRIMARY} : {TWO}"
    assert world.line(write) == "ConnectionAbortedError"
    assert world.line(world.client(PRIMARY)) == TWO
    assert read.poll() is None


def test_a_silent_node_is_left_and_taken_again_when_it_answers(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}", f"read {ONE}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    read = world.client(READ)
    assert world.line(read) == TWO
    world.run(world.apps, "ip link set v1 down")
    assert [world.line(daemon) for _ in range(2)] == [f"{ONE} is silent", f"{PRIMARY} : {TWO}"]
    assert read.poll() is None
    world.run(world.apps, "ip link set v1 up")
    assert [world.line(daemon) for _ in range(2)] == [f"{ONE} answers", f"{PRIMARY} : {ONE}"]


def test_a_leader_that_does_not_pass_stays_primary_while_its_port_is_open(world: World) -> None:
    daemon = world.daemon(f"leader {ONE}", f"read {TWO}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    world.servers[0].kill()
    assert world.line(daemon) == f"{PRIMARY} : {TWO}"


def test_a_primary_that_refuses_is_left_at_once_and_taken_again_when_it_accepts(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    read = world.client(READ)
    assert world.line(read) == TWO
    took = []
    for _ in range(3):  # the best one counts: a busy machine is slow at times, who waits for a tick or a ping always is
        began = time.monotonic()
        world.servers[0].kill()
        assert world.line(daemon) == f"{PRIMARY} : {TWO}"
        took.append(time.monotonic() - began)
        assert world.line(world.client(PRIMARY)) == TWO, "a session can be opened, and a write is refused there"
        world.serve(0)
        assert world.line(daemon) == f"{PRIMARY} : {ONE}"
    assert min(took) < 1, "nobody waits for tags or a ping"
    assert read.poll() is None


def test_who_has_the_primary_alone_is_ended_once_both_can_be_had(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    alone = world.client(PRIMARY)
    assert world.line(alone) == ONE
    assert world.line(daemon) == "ended 1 sessions that read from the primary alone"
    assert world.line(alone) == "ConnectionAbortedError"


def test_nothing_is_led_before_the_first_file_and_the_last_map_outlives_the_daemon(world: World) -> None:
    daemon = world.daemon()
    assert world.run(world.apps, "nft list tables") == ""
    world.file.write_text(f"read {TWO}\n")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {TWO}", f"{READ} : {TWO}"]
    daemon.kill()
    assert world.line(world.client(PRIMARY)) == TWO
