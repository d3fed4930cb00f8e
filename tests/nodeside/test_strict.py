"""Strict mode: writes are refused, and allowed again, at the right look; cancels are refused while they could lie."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tercet.nodeside import strict
from tercet.nodeside.host import ProgramError

from ..drills.conftest import Server, server  # noqa: F401  (a fixture)
from .delivery import Systemd, replace_program
from .namespaces import Namespaces

SOURCE = strict.__file__.removesuffix("/tercet/nodeside/strict.py")


@dataclass
class Primary:
    """A connection to a PostgreSQL that answers looks, and does what it is told."""

    standby: bool = False
    read_only: bool = False  # what postgresql.auto.conf says
    loaded: bool = False
    reloads: int = 0
    deaf: bool = False  # it loads nothing
    replies: dict[str, str] = field(default_factory=lambda: {"11": "1", "12": "1"})
    waiting: list[int] = field(default_factory=list)
    terminated: list[int] = field(default_factory=list)
    heartbeats: int = 0
    answering: bool = True  # the standbys confirm what is written
    timeline: str = "00000002"
    sql: str = ""

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> Primary:
        self.sql = sql
        if "pg_logical_emit_message" in sql:
            self.heartbeats += 1
            if self.answering:
                self.replies = {pid: str(int(reply) + 1) for pid, reply in self.replies.items()}
        elif "ALTER SYSTEM" in sql:
            self.read_only = "SET" in sql.split()
        elif "pg_reload_conf" in sql:
            self.reloads += 1
            self.loaded = self.loaded if self.deaf else self.read_only
        elif "pg_terminate_backend" in sql:
            self.terminated += values[0]
            self.waiting = []
        return self

    def fetchone(self) -> tuple[Any, ...]:
        files = self.read_only
        if self.sql == strict.TIMELINE:
            return (self.timeline,)
        if self.sql == strict.HISTORY:
            return ("1\t0/3000000\tno recovery target specified\n",)
        return self.standby, self.loaded, self.read_only, files, self.replies or None, self.waiting or None


@dataclass
class Filter:
    """The kernel's filter, and whether `nft` works."""

    up: list[bool] = field(default_factory=list)
    works: bool = True

    def shield(self, _port: int, up: bool) -> None:
        self.up.append(up)
        if not self.works:
            raise ProgramError("nft: no such thing")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Filter:
    kernel = Filter()
    monkeypatch.setattr(strict, "shield", kernel.shield)
    return kernel


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(strict.time, "monotonic", lambda: now[0])
    return now


@dataclass
class Dcs:
    """Where the timeline of a new primary is recorded."""

    problem: str = ""
    recorded: list[tuple[int, str]] = field(default_factory=list)

    def record(self, timeline: int, history: str) -> str:
        self.recorded.append((timeline, history))
        return self.problem


def new(
    needed: int = 1, *, full: str = "/nonexistent", creating: str = "/nonexistent", dcs: Dcs | None = None
) -> strict.Strict:
    return strict.Strict(needed, ["db-2", "db-3"], 5432, full, dcs or Dcs(), creating=creating)  # type: ignore[arg-type]


def poll(guard: strict.Strict, primary: Primary, clock: list[float], times: int = 1) -> None:
    for _ in range(times):
        guard.poll(primary)  # type: ignore[arg-type]
        clock[0] += strict.LOOK_S


def test_writes_are_refused_at_the_sixth_look_without_standbys_and_allowed_at_the_first_with_one(
    kernel: Filter, clock: list[float]
) -> None:
    guard, primary = new(1), Primary()
    poll(guard, primary, clock, 3)
    assert not primary.read_only
    primary.replies = {}
    poll(guard, primary, clock, strict.SHORT_LOOKS - 1)
    assert not primary.read_only, "no loss yet: a standby follows a new primary"
    poll(guard, primary, clock)
    assert primary.read_only
    primary.replies = {"13": "1"}
    poll(guard, primary, clock)
    assert not primary.read_only


def test_a_cluster_that_is_being_created_is_left_alone(kernel: Filter, clock: list[float], tmp_path: Path) -> None:
    """Also by a process that has seen for long that no standby confirms anything."""
    guard, primary, mark = new(1, creating=str(tmp_path / "creating")), Primary(), tmp_path / "creating"
    primary.replies = {}
    mark.touch()
    poll(guard, primary, clock, 2 * strict.SHORT_LOOKS)
    assert not primary.read_only
    mark.unlink()
    poll(guard, primary, clock, strict.SHORT_LOOKS)
    assert primary.read_only


def test_writes_are_refused_while_the_disk_is_full(kernel: Filter, clock: list[float], tmp_path: Path) -> None:
    full = tmp_path / "full"
    guard, primary = new(1, full=str(full)), Primary()
    full.touch()
    poll(guard, primary, clock)
    assert primary.read_only and primary.terminated == []
    primary.replies = {}
    poll(guard, primary, clock, strict.SHORT_LOOKS)
    full.unlink()
    poll(guard, primary, clock)
    assert primary.read_only, "no standby confirms"
    primary.replies = {"13": "1"}
    poll(guard, primary, clock)
    assert not primary.read_only


def test_more_may_be_needed_than_one(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(2), Primary()
    del primary.replies["11"]
    poll(guard, primary, clock, strict.SHORT_LOOKS)
    assert primary.read_only


def test_standbys_that_are_connected_and_silent_are_refused_in_time(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary()
    poll(guard, primary, clock, 20)
    assert not primary.read_only
    primary.answering = False
    began, looks = clock[0], 0
    while not primary.read_only:
        looks += 1
        assert looks < 20
        poll(guard, primary, clock)
    assert 2.5 <= clock[0] - began <= 4
    primary.answering = True
    poll(guard, primary, clock, 5)  # the next heartbeat is answered
    assert not primary.read_only


def test_nobody_is_called_silent_for_a_pause_of_the_guard_itself(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary()
    poll(guard, primary, clock, 5)
    primary.answering = False
    clock[0] += 60
    poll(guard, primary, clock, 3)
    assert not primary.read_only


def test_one_silent_standby_of_two_refuses_nothing(kernel: Filter, clock: list[float]) -> None:
    silence = strict.SilentStandbys()
    assert [silence.speaking({"11": "frozen", "12": str(n)}) for n in range(15)] == [2] * 8 + [1] * 7


def test_a_heartbeat_is_written_each_second_on_the_primary_alone(kernel: Filter, clock: list[float]) -> None:
    primary, standby = Primary(), Primary(standby=True)
    guard = new(1)
    poll(guard, primary, clock, 12)
    assert primary.heartbeats == 3
    poll(new(1), standby, clock, 12)
    assert standby.heartbeats == 0


def test_backends_that_wait_are_terminated_only_while_writes_are_refused(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary(waiting=[7])
    poll(guard, primary, clock, 4)
    assert primary.terminated == []
    primary.replies = {}
    poll(guard, primary, clock, strict.SHORT_LOOKS)
    assert primary.terminated == [7]


def test_cancels_are_refused_from_the_second_look_of_a_wait_until_nobody_waits(
    kernel: Filter, clock: list[float]
) -> None:
    guard, primary = new(1), Primary(waiting=[7])
    poll(guard, primary, clock)
    assert kernel.up == [False], "a predecessor may have left it up"
    primary.waiting = [8]
    poll(guard, primary, clock)
    assert kernel.up == [False], "another backend: each waited for one look"
    poll(guard, primary, clock, 2)
    assert kernel.up == [False, True]
    primary.waiting = []
    poll(guard, primary, clock, 2)
    assert kernel.up == [False, True, False]


def test_a_shield_that_could_not_be_raised_is_tried_again(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary(waiting=[7])
    poll(guard, primary, clock)
    kernel.works = False
    poll(guard, primary, clock, 8)
    assert kernel.up == [False, True], "not at each look: one that hangs holds everything else up"
    kernel.works = True
    clock[0] += strict.SHIELD_AGAIN_S
    poll(guard, primary, clock, 2)
    assert kernel.up == [False, True, True]


def test_the_setting_is_changed_once_and_loaded_again_only_where_it_was_not(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary(replies={})
    poll(guard, primary, clock, strict.SHORT_LOOKS + 100)
    assert (primary.read_only, primary.loaded, primary.reloads) == (True, True, 1)
    primary.loaded, primary.deaf = False, True
    poll(guard, primary, clock, 5 * strict.SETTLE_LOOKS)
    assert primary.reloads == 1 + 5
    primary.replies, primary.deaf = {"13": "1"}, False
    poll(guard, primary, clock, 100)
    assert (primary.read_only, primary.loaded, primary.reloads) == (False, False, 1 + 5 + 1)


def test_what_a_person_or_a_base_backup_set_is_taken_back_once(kernel: Filter, clock: list[float]) -> None:
    found = Primary(read_only=True, loaded=True)
    poll(new(), found, clock, 50)
    assert (found.read_only, found.loaded, found.reloads) == (False, False, 1)


def test_a_demoted_primary_takes_everything_back(kernel: Filter, clock: list[float]) -> None:
    guard, primary = new(1), Primary(waiting=[7], replies={})
    for _ in range(strict.SHORT_LOOKS):
        primary.waiting = [7]
        poll(guard, primary, clock)
    assert (primary.read_only, kernel.up[-1]) == (True, True)
    primary.standby, primary.waiting = True, []
    poll(guard, primary, clock)
    assert (primary.read_only, kernel.up[-1]) == (True, False), "it stays read-only until it leads again"


def test_a_new_primary_takes_writes_when_a_standby_follows_and_its_timeline_is_recorded(
    kernel: Filter, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen: an old primary took the lead again, and nothing said that there had been another: 15 writes were lost."""
    dcs, node = Dcs("db-2 holds the leader key"), Primary(standby=True, replies={})
    guard = new(dcs=dcs)
    poll(guard, node, clock, 3)
    assert node.read_only and node.reloads == 1
    node.standby = False
    poll(guard, node, clock, 2)
    assert node.read_only and dcs.recorded == [], "nobody follows it yet"
    node.replies = {"13": "1"}
    poll(guard, node, clock, 3)
    assert node.read_only and dcs.recorded == [(2, "1\t0/3000000\tno recovery target specified\n")] * 3
    assert capsys.readouterr().out.count("the timeline cannot be recorded: db-2 holds the leader key") == 1
    dcs.problem = ""
    poll(guard, node, clock)
    assert not node.read_only


def test_a_primary_that_was_alone_needs_no_dcs_to_take_writes_again(kernel: Filter, clock: list[float]) -> None:
    """Its timeline is recorded already, and dcs may be gone (failsafe mode)."""
    dcs, node = Dcs(), Primary(read_only=True, loaded=True)
    guard = new(dcs=dcs)
    poll(guard, node, clock)
    node.replies, dcs.problem = {}, "dcs does not answer"
    poll(guard, node, clock, strict.SHORT_LOOKS)
    assert node.read_only
    node.replies = {"13": "1"}
    poll(guard, node, clock)
    assert not node.read_only and len(dcs.recorded) == 1


def test_the_first_timeline_needs_no_record(kernel: Filter, clock: list[float]) -> None:
    dcs, node = Dcs("dcs does not answer"), Primary(read_only=True, loaded=True, timeline="00000001")
    poll(new(dcs=dcs), node, clock)
    assert not node.read_only and dcs.recorded == []


def test_a_new_primary_looks_often_for_its_first_standby(kernel: Filter, clock: list[float]) -> None:
    node, guard, looks = Primary(standby=True, replies={}), new(), list[str]()
    poll(guard, node, clock)
    node.standby = False
    poll(guard, node, clock)

    class Session:
        """The third look finds a standby."""

        def execute(self, sql: str, _values: tuple[Any, ...]) -> Session:
            looks.append(sql)
            return self

        def fetchone(self) -> tuple[()] | None:
            return () if len(looks) == 3 else None

    guard.pause(Session(), strict.LOOK_S)  # type: ignore[arg-type]
    assert looks == [strict.STREAMING] * 3


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("echo no such thing >&2; exit 1", "nft: no such thing"),
        ("exec sleep 99", "nft: still running after 1 s, killed"),
    ],
)
def test_a_failure_of_nft_is_told_and_writes_are_refused_all_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clock: list[float],
    end: str,
    reason: str,
) -> None:
    replace_program(tmp_path, "nft", f"cat > /dev/null; {end}")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    guard, primary = new(1), Primary(replies={}, waiting=[7])
    poll(guard, primary, clock, strict.SHORT_LOOKS)
    assert (primary.read_only, primary.terminated) == (True, [7])
    assert capsys.readouterr().out.splitlines().count(reason) == 1


def test_the_question_is_one_that_postgresql_answers(server: Server) -> None:  # noqa: F811
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        assert connection.execute(strict.LOOK, (["db-2"],)).fetchone() == (False, False, False, False, None, None)


@pytest.mark.parametrize(("name", "counts"), [("pg_basebackup", False), ("db-2", True)])
def test_what_receives_wal_counts_only_if_it_is_a_database_node(
    server: Server,  # noqa: F811
    tmp_path: Path,
    name: str,
    counts: bool,
) -> None:
    """Seen: Patroni named `*` as synchronous, and writes were allowed because of a clone that had just begun."""
    argv = [
        str(server.binaries / "pg_receivewal"),
        "-D",
        str(tmp_path),
        "-d",
        f"{server.conninfo} application_name={name}",
    ]
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        receiver = subprocess.Popen([*argv, "--synchronous"])
        try:
            end = time.monotonic() + 30
            while connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone() is None:
                assert time.monotonic() < end
                time.sleep(0.05)
            row = connection.execute(strict.LOOK, (["db-2"],)).fetchone()
            assert row is not None and bool(row[4]) is counts
            assert (connection.execute(strict.STREAMING, (["db-2"],)).fetchone() is not None) is counts
        finally:
            receiver.kill()
            receiver.wait()
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def reloads(server: Server) -> int:  # noqa: F811
    return (server.directory / "log").read_text().count("received SIGHUP")


@pytest.fixture
def heartbeat(server: Server) -> Iterator[None]:  # noqa: F811
    """PostgreSQL's function with the argument that it has since 17, where the server is older."""
    own = "pg_logical_emit_message(boolean, text, text, boolean)"
    old = server.sql("SELECT current_setting('server_version_num')::int < 170000") == [["t"]]
    if old:
        body = "SELECT pg_logical_emit_message($1, $2, $3)"
        server.sql(f"CREATE FUNCTION {own} RETURNS pg_lsn LANGUAGE sql VOLATILE AS '{body}'")
    yield
    if old:
        server.sql(f"SET default_transaction_read_only = off; DROP FUNCTION {own}")


def test_a_real_postgresql_is_told_once_by_each_that_comes(
    server: Server,  # noqa: F811
    heartbeat: None,
    kernel: Filter,
) -> None:
    before = reloads(server)

    def looked(guard: strict.Strict, looks: int, *, read_only: bool) -> int:
        """Reloads that it took, after so many looks of a new session as the daemon has one."""
        with psycopg.connect(f"{server.conninfo} options='-c synchronous_commit=local'", autocommit=True) as session:
            for _ in range(looks):
                guard.poll(session)
                time.sleep(strict.LOOK_S)
        assert server.sql("SHOW default_transaction_read_only") == [["on" if read_only else "off"]]
        return reloads(server) - before

    nobody, enough = new(1), new(0)
    assert looked(nobody, strict.SHORT_LOOKS - 1, read_only=False) == 0
    assert looked(nobody, 12, read_only=True) == 1, "the setting is changed once"
    assert looked(new(1), 8, read_only=True) == 1, "a successor finds it as it should be"
    assert looked(enough, 6, read_only=False) == 2
    # As if its predecessor had been killed in the middle, or a person had written it.
    server.sql("ALTER SYSTEM SET default_transaction_read_only = TRUE")
    assert looked(nobody, 6, read_only=True) == 3
    assert looked(enough, 6, read_only=False) == 4


# The daemon itself, but that it comes to PostgreSQL by another way.
DAEMON = f"""
import sys
sys.path.insert(0, {SOURCE!r})
import psycopg
from tercet.nodeside import strict
options = "-c synchronous_commit=local -c statement_timeout=3s"
strict.connect = lambda port: psycopg.connect(sys.argv[1], autocommit=True, application_name="strict", options=options)
strict.shield = lambda port, up: None
dcs = {{"host": "127.0.0.1", "port": 9}}
config = {{"needed": 0, "standbys": [], "port": 5432, "full": "/nonexistent", "creating": "/nonexistent"}}
strict.main({{**config, "dcs": dcs, "scope": "service/x", "node": "db-1"}})
"""


def test_one_that_is_suspended_changes_nothing_and_one_that_hangs_is_noticed(
    tmp_path: Path,
    server: Server,  # noqa: F811
    heartbeat: None,
) -> None:
    before, systemd = reloads(server), Systemd(tmp_path)
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.address}
    with subprocess.Popen([sys.executable, "-c", DAEMON, server.conninfo], env=environment) as daemon:
        try:
            systemd.until("READY=1")
            daemon.send_signal(signal.SIGSTOP)
            time.sleep(10)
            daemon.send_signal(signal.SIGCONT)
            assert not systemd.silent(20)
            assert (server.sql("SHOW default_transaction_read_only"), reloads(server)) == ([["off"]], before)
            ((backend,),) = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'strict'")
            os.kill(int(backend), signal.SIGSTOP)
            try:
                time.sleep(2)
                assert systemd.silent(5), "so its watchdog ends it"
            finally:
                os.kill(int(backend), signal.SIGCONT)
            assert not systemd.silent(20)
        finally:
            daemon.kill()
            systemd.close()


# Answers each connection's first bytes. One whose bytes are refused is not told so, and waits on.
LISTENER = """
import socket, threading
def answer(connection):
    if connection.recv(64):
        connection.sendall(b"N")
    connection.close()
with socket.create_server(("", 5432)) as listener:
    print("listens", flush=True)
    while True:
        threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()
"""
CLIENT = """
import socket, sys
with socket.create_connection(("10.9.1.2", 5432), timeout=60) as connection:
    connection.sendall(bytes.fromhex(sys.argv[1]))
    try:
        print("answered" if connection.recv(1) else "closed")
    except ConnectionResetError:
        print("reset")
"""
CANCEL = struct.pack("!iiii", 16, 80877102, 4711, 815)
STARTUP = struct.pack("!ii", 16, 196608) + b"user\0a\0\0"


def test_the_shield_resets_a_cancel_request_and_lets_everything_else_through() -> None:
    guard = "import sys; sys.path.insert(0, {!r}); from tercet.nodeside import strict; print(strict.shield(5432, {}))"
    with Namespaces() as spaces:
        client, database = spaces.new(), spaces.new()
        spaces.join(client, database, 1)
        assert spaces.line(spaces.start(database, "python3", "-c", LISTENER)) == "listens"

        def said(packet: bytes) -> str:
            return spaces.line(spaces.start(client, "python3", "-c", CLIENT, packet.hex()))

        def shield(up: bool) -> str:
            return spaces.line(spaces.start(database, sys.executable, "-c", guard.format(SOURCE, up)))

        assert len(CANCEL) == len(STARTUP) == 16
        assert (said(CANCEL), said(STARTUP)) == ("answered", "answered")
        assert shield(True) == "None"
        assert (said(CANCEL), said(STARTUP)) == ("reset", "answered")
        assert shield(False) == "None"
        assert said(CANCEL) == "answered"
