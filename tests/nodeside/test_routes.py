"""The daemon that keeps two local addresses leading to the right nodes: its choice, and a real kernel doing it."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.nodeside import routes
from tercet.nodeside.halfopen import connections
from tercet.nodeside.tailnet import Tailnet

from .delivery import Systemd, deliver, replace_program
from .namespaces import Namespaces

TAILNET = Tailnet("100.64.0.0/10")
TTL_S = 6.0
PRIMARY, READ = "198.18.0.1", "198.18.0.2"
ADDRESSES = ("100.64.0.1", "100.64.0.2", "100.64.0.3")


def test_the_file_is_read_in_order_and_a_node_counts_once() -> None:
    text = (
        "primary 100.64.0.2\nprimary 100.64.0.1\nleader 100.64.0.1\nown 100.64.0.4\n"
        "read 100.64.0.2\nread 100.64.0.3\nread 100.64.0.2\n"
    )
    assert routes.parse(text, TAILNET) == ("100.64.0.1", "100.64.0.1", "100.64.0.4", ["100.64.0.2", "100.64.0.3"])
    assert routes.parse("primary \nhalf a li", TAILNET) == ("", "", "", [])


def test_an_address_outside_the_tailnet_is_refused_and_displaces_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    tailnet = Tailnet("100.64.0.0/10")
    text = (
        "primary 100.64.0.1\nprimary 100.64.0.9 }; flush ruleset; #\nprimary 8.8.8.8\nleader 100.64.0.1 \n"
        "read ::1\nread 100.64.0.2\nread localhost\nread 100.128.0.1\nflush ruleset\n"
    )
    for _ in range(3):
        assert routes.parse(text, tailnet) == ("100.64.0.1", "", "", ["100.64.0.2"])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 7 and "refused '8.8.8.8': not an IPv4 address within 100.64.0.0/10" in said


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
    assert routes.one_legged(connections(listing), PRIMARY, READ) == {"40003"}
    assert routes.one_legged([], PRIMARY, READ) == set()


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
import socket
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
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.systemd = Systemd(folder)
        self._environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}:/usr/sbin",
            "NOTIFY_SOCKET": self.systemd.address,
        }
        self._spaces = spaces
        self.apps = spaces.new()
        self.line, self.run = spaces.line, spaces.run
        self.servers: list[subprocess.Popen[str]] = []
        self.databases = [spaces.new(), spaces.new()]
        for place, database in enumerate(self.databases):
            spaces.join(self.apps, database, place + 1)
            self.serve(place)
        config = {"file": str(self.file), "record": str(self.record), "pid_file": str(folder / "pid")}
        config |= {"primary": PRIMARY, "read": READ, "port": 5432, "user": "somebody", "tailnet": "10.9.0.0/16"}
        config["ttl_s"] = TTL_S
        self._folder, self._config = folder, config

    def serve(self, place: int, script: str = SERVER, *words: str) -> None:
        """Only at a place whose server has ended."""
        server = self._spaces.start(self.databases[place], "python3", "-c", script, *words)
        self.servers[place : place + 1] = [server]
        assert self.line(server) == "listens"

    def daemon(self, *lines: str, stepped: bool = False) -> subprocess.Popen[str]:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        command = deliver(self._folder, "routes", self._config, stepped=stepped)
        return self._spaces.start(self.apps, *command, environment=self._environment)

    def change(self, daemon: subprocess.Popen[str], *lines: str) -> None:
        self.file.write_text("".join(f"{line}\n" for line in lines))
        daemon.send_signal(signal.SIGHUP)

    def client(self, address: str) -> subprocess.Popen[str]:
        return self.start(CLIENT, address)

    def start(self, script: str, *words: str) -> subprocess.Popen[str]:
        """A program in Python on the apps node."""
        return self._spaces.start(self.apps, "python3", "-c", script, *words)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Namespaces() as spaces:
        world = World(tmp_path, spaces)
        yield world
        world.systemd.close()


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


@pytest.mark.parametrize("stepped", [False, True])
def test_a_silent_node_is_left_and_taken_again_when_it_answers(world: World, stepped: bool) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}", f"read {ONE}", stepped=stepped)
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


def test_a_leader_that_does_not_pass_stays_primary_though_new_connections_take_long(world: World) -> None:
    """Seen when a frozen site was thawed: gossip dropped the primary, a probe took over 0.3 s, all sessions ended."""
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    write = world.client(PRIMARY)
    assert world.line(write) == ONE
    slow = "table ip slow { chain input { type filter hook input priority 0; tcp flags & (syn | ack) == syn drop; }; }"
    world.run(world.databases[0], f"nft '{slow}'")
    world.change(daemon, f"leader {ONE}", f"read {TWO}")
    time.sleep(10 * routes.PROBE_S)
    assert write.poll() is None and world.record.read_text() == f"{PRIMARY} : {ONE}\n{READ} : {TWO}\n"
    world.run(world.databases[0], "nft delete table ip slow")
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


def test_a_connection_whose_end_was_lost_is_ended_though_its_program_only_waits(world: World) -> None:
    """The program has asked for no keepalives, and the server's reset is lost."""
    world.run(world.apps, "cd /proc/sys/net/ipv4; echo 1 | tee tcp_keepalive_time tcp_keepalive_intvl")
    daemon = world.daemon(f"primary {ONE}", f"read {ONE}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {ONE}"]
    client = world.client(READ)
    assert world.line(client) == ONE
    sockets = f"ss -Htno state established dst {READ}"
    deadline = time.monotonic() + 30
    while "keepalive" not in world.run(world.apps, sockets):
        assert time.monotonic() < deadline, world.run(world.apps, sockets)
        time.sleep(0.2)
    mute = "table ip mute { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }"
    close = "ss -H --kill --tcp state established sport = :5432"
    closed = world.run(world.databases[0], f"nft '{mute}'; {close}; nft delete table ip mute")
    assert closed, "the server's side has ended its connections"
    assert world.line(client) == "ConnectionResetError"


def test_nothing_is_led_before_the_first_file_and_the_last_map_outlives_the_daemon(world: World) -> None:
    daemon = world.daemon()
    assert world.run(world.apps, "nft list tables") == ""
    world.file.write_text(f"read {TWO}\n")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {TWO}", f"{READ} : {TWO}"]
    daemon.kill()
    assert world.line(world.client(PRIMARY)) == TWO


# Speaks enough of PostgreSQL's protocol to be asked for a session: its argument is what it answers a client's first
# message with, in hexadecimal. A line on standard input replaces that for new clients, or ends all sessions without a
# word: "end".
POSTGRESQL = r"""
import os, select, socket, sys
listener, kept, answer = socket.create_server(("", 5432)), [], bytes.fromhex(sys.argv[1])
print("listens", flush=True)
while True:
    ready, _, _ = select.select([listener, 0], [], [])
    if 0 in ready:
        for word in os.read(0, 1000).decode().split():
            if word == "end":
                for each in kept: each.close()
                kept = []
            else:
                answer = bytes.fromhex(word)
    if listener in ready:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(answer)
        if answer.startswith(b"E"):
            connection.close()
        else:
            kept.append(connection)
"""
PASSWORD = struct.pack("!cii", b"R", 8, 3)  # AuthenticationCleartextPassword


def error(sqlstate: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0Mno\0\0".encode()
    return struct.pack("!ci", b"E", len(fields) + 4) + fields


def tell(server: subprocess.Popen[str], word: str) -> None:
    assert server.stdin is not None
    server.stdin.write(f"{word}\n")
    server.stdin.flush()


@pytest.fixture
def postgresql(world: World) -> World:
    """The same world; what is primary speaks PostgreSQL's protocol."""
    world.servers[0].kill()
    world.servers[0].wait()
    world.serve(0, POSTGRESQL, PASSWORD.hex())
    return world


def changed_nothing(world: World, daemon: subprocess.Popen[str], seconds: float) -> None:
    """In so long a time, and it still follows its file."""
    time.sleep(seconds)
    for read, other in ((ONE, TWO), (TWO, ONE)):
        world.change(daemon, f"primary {ONE}", f"read {read}", f"read {other}")
        assert world.line(daemon) == f"{READ} : {read}"


@pytest.mark.parametrize("sqlstate", ["53300", "28000", "57014", ""])
def test_an_error_of_a_postgresql_that_lives_ends_nothing(postgresql: World, sqlstate: str) -> None:
    """All slots taken, an unknown user, a timed-out authentication, an error without a code: none is the end."""
    daemon = postgresql.daemon(f"primary {ONE}", f"read {TWO}")
    assert [postgresql.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    tell(postgresql.servers[0], (error(sqlstate) if sqlstate else b"Ecould not fork\n\0").hex())
    tell(postgresql.servers[0], "end")
    changed_nothing(postgresql, daemon, 3)
    assert f"{PRIMARY} : {ONE}" in postgresql.record.read_text()


def test_a_session_that_ends_without_a_word_is_begun_anew_and_ends_nothing(postgresql: World) -> None:
    """As authentication_timeout does."""
    daemon = postgresql.daemon(f"primary {ONE}", f"read {TWO}")
    assert [postgresql.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    for _ in range(3):
        tell(postgresql.servers[0], "end")
        changed_nothing(postgresql, daemon, 0.7)


@pytest.mark.parametrize("sqlstate", ["57P01", "57P02", "57P03"])
def test_a_postgresql_that_stops_is_left_at_once_and_taken_again_when_it_accepts(
    postgresql: World, sqlstate: str
) -> None:
    daemon = postgresql.daemon(f"primary {ONE}", f"read {TWO}")
    assert [postgresql.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    tell(postgresql.servers[0], error(sqlstate).hex())
    tell(postgresql.servers[0], "end")
    assert postgresql.line(daemon) == f"{PRIMARY} : {TWO}"
    tell(postgresql.servers[0], error("53300").hex())  # it accepts again, and has no slot: it is up
    assert postgresql.line(daemon) == f"{PRIMARY} : {ONE}"


def test_a_read_node_that_the_catalogue_drops_stays_while_it_serves(postgresql: World) -> None:
    """As when a returning site's stale gossip declares it failed."""
    daemon = postgresql.daemon(f"primary {TWO}", f"read {ONE}", f"read {TWO}")
    assert [postgresql.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {TWO}", f"{READ} : {ONE}"]
    began = time.monotonic()
    postgresql.change(daemon, f"primary {TWO}", f"read {TWO}")
    assert postgresql.line(daemon) == f"{READ} : {TWO}"
    assert time.monotonic() - began > routes.STAY_S - 0.5, "it left a node that serves"
    postgresql.change(daemon, f"primary {TWO}", f"read {ONE}", f"read {TWO}")
    assert postgresql.line(daemon) == f"{READ} : {ONE}"
    tell(postgresql.servers[0], error("57P03").hex())
    began = time.monotonic()
    postgresql.change(daemon, f"primary {TWO}", f"read {TWO}")
    assert postgresql.line(daemon) == f"{READ} : {TWO}"
    assert time.monotonic() - began < routes.STAY_S - 0.5, "it stayed at a node that refuses sessions"


def test_the_sites_own_node_stays_for_the_ttl_while_it_serves(postgresql: World) -> None:
    """As when its Patroni hangs or is too slow to answer the check."""
    daemon = postgresql.daemon(f"primary {TWO}", f"own {ONE}", f"read {ONE}", f"read {TWO}")
    assert [postgresql.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {TWO}", f"{READ} : {ONE}"]
    began = time.monotonic()
    postgresql.change(daemon, f"primary {TWO}", f"own {ONE}", f"read {TWO}")
    assert postgresql.line(daemon) == f"{READ} : {TWO}"
    assert TTL_S - 0.5 < time.monotonic() - began < TTL_S + 2
    postgresql.change(daemon, f"primary {TWO}", f"own {ONE}", f"read {ONE}", f"read {TWO}")
    assert postgresql.line(daemon) == f"{READ} : {ONE}"
    postgresql.change(daemon, f"primary {TWO}", f"own {ONE}", f"read {TWO}")
    time.sleep(1.0)
    tell(postgresql.servers[0], error("57P03").hex())
    began = time.monotonic()
    assert postgresql.line(daemon) == f"{READ} : {TWO}"
    assert time.monotonic() - began < 2, "it stayed at a node that refuses sessions"


def test_a_daemon_that_was_suspended_calls_nobody_silent(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon), world.line(daemon)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    daemon.send_signal(signal.SIGSTOP)
    time.sleep(10)
    daemon.send_signal(signal.SIGCONT)
    changed_nothing(world, daemon, 1.5)


def test_a_daemon_that_is_starved_calls_nobody_silent(world: World) -> None:
    """For 10 s it gets 2 ms of each half second."""
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon), world.line(daemon)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    for _ in range(20):
        daemon.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        daemon.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    changed_nothing(world, daemon, 1.5)


def test_a_successor_ends_no_connection_that_leads_where_it_should(world: World) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon), world.line(daemon)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    write, read = world.client(PRIMARY), world.client(READ)
    assert (world.line(write), world.line(read)) == (ONE, TWO)
    daemon.kill()
    daemon = world.daemon(f"primary {ONE}", f"read {ONE}", f"read {TWO}")
    assert world.line(daemon) == f"{READ} : {ONE}"
    assert world.line(read) == "ConnectionAbortedError"
    assert write.poll() is None


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("echo no such thing >&2; exit 1", "nft: no such thing"),
        ("exec sleep 99", "nft: still running after 5 s, killed"),
    ],
)
def test_while_nft_fails_nothing_is_ready_and_the_reason_is_said_once(world: World, fails: str, reason: str) -> None:
    fake = replace_program(world.programs, "nft", f"cat > /dev/null; {fails}")
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert world.line(daemon) == reason
    time.sleep(3)
    fake.unlink()
    assert world.line(daemon) == f"{PRIMARY} : {ONE}"
    assert world.line(daemon) == f"{READ} : {TWO}"
    assert world.line(daemon) == "the kernel takes changes again"
    assert f"STATUS={reason}" in world.systemd.until("READY=1")


# Takes every free slot, again and again, since authentication_timeout frees them.
FILLER = r"""
import socket, struct, sys, time
words = b"\0".join((b"user", b"a", b"database", b"a", b"", b""))
greeting, kept, full = struct.pack("!ii", len(words) + 8, 196608) + words, [], False
while True:
    connection = socket.create_connection((sys.argv[1], 5432), 60)
    connection.sendall(greeting)
    if b"C53300" in connection.recv(500):
        if not full: print("full", flush=True)
        full = True
    else:
        kept = [*kept[-20:], connection]
    time.sleep(0.01)
"""


@pytest.fixture
def cluster(world: World) -> Iterator[Callable[[str], None]]:
    """A real PostgreSQL with few slots and little patience is primary; the function is pg_ctl with these words."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL server installed (Debian: apt-get install postgresql)")
    world.servers[0].kill()
    world.servers[0].wait()
    with tempfile.TemporaryDirectory(prefix="tercet-routes-", ignore_cleanup_errors=True) as folder:
        shutil.chown(folder, "nobody")

        def run(script: str) -> None:
            nobody = "setpriv --reuid=nobody --clear-groups"
            world.run(
                world.databases[0], f"cd {folder} && PATH={found[-1]}:$PATH && {script.replace('AS ', f'{nobody} ')}"
            )

        def control(words: str) -> None:
            run(f"AS pg_ctl -D data -w -t 80 -l log {words} > /dev/null")

        run("AS initdb -D data -U postgres -A scram-sha-256 --no-sync --pwfile=/proc/self/comm > /dev/null")
        settings = {"listen_addresses": "*", "unix_socket_directories": "", "authentication_timeout": "1s"}
        settings |= {"max_connections": "6", "superuser_reserved_connections": "0", "fsync": "off"}
        lines = "".join(f"{key} = '{value}'\n" for key, value in settings.items())
        run(f'printf "{lines}" >> data/postgresql.conf; echo host all all all scram-sha-256 >> data/pg_hba.conf')
        control("start")
        try:
            yield control
        finally:
            control("-m immediate stop || true")


def test_a_real_postgresql_is_left_when_it_stops_and_for_nothing_else(
    world: World, cluster: Callable[[str], None]
) -> None:
    daemon = world.daemon(f"primary {ONE}", f"read {TWO}")
    assert [world.line(daemon) for _ in range(2)] == [f"{PRIMARY} : {ONE}", f"{READ} : {TWO}"]
    changed_nothing(world, daemon, 5)
    filler = world.start(FILLER, ONE)
    assert world.line(filler) == "full"
    changed_nothing(world, daemon, 5)
    filler.kill()
    cluster("-m fast stop")
    assert world.line(daemon) == f"{PRIMARY} : {TWO}"
    cluster("start")
    assert world.line(daemon) == f"{PRIMARY} : {ONE}"
