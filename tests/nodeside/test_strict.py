"""Strict mode: writes are refused, and allowed again, at the right look; cancels are refused while they could lie."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tercet.nodeside import strict

from ..drills.conftest import Server, server  # noqa: F401  (a fixture)
from .namespaces import Namespaces


@dataclass
class Primary:
    """A connection to a PostgreSQL that answers looks, and does what it is told."""

    standby: bool = False
    read_only: bool = False
    replies: dict[str, str] = field(default_factory=lambda: {"11": "1", "12": "1"})
    waiting: list[int] = field(default_factory=list)
    terminated: list[int] = field(default_factory=list)
    heartbeats: int = 0
    answering: bool = True  # the standbys confirm what is written

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> Primary:
        if "pg_logical_emit_message" in sql:
            self.heartbeats += 1
            if self.answering:
                self.replies = {pid: str(int(reply) + 1) for pid, reply in self.replies.items()}
        elif "ALTER SYSTEM" in sql:
            self.read_only = "SET" in sql.split()
        elif "pg_terminate_backend" in sql:
            self.terminated += values[0]
            self.waiting = []
        return self

    def fetchone(self) -> tuple[Any, ...]:
        return self.standby, self.read_only, self.read_only, self.replies or None, self.waiting or None


@dataclass
class Filter:
    """The kernel's filter, and whether `nft` works."""

    up: list[bool] = field(default_factory=list)
    works: bool = True

    def shield(self, _port: int, up: bool) -> bool:
        self.up.append(up)
        return self.works


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


def look(guard: strict.Strict, primary: Primary, clock: list[float], times: int = 1) -> None:
    for _ in range(times):
        guard.look(primary)  # type: ignore[arg-type]
        clock[0] += strict.LOOK_S


def test_writes_are_refused_at_the_sixth_look_without_standbys_and_allowed_at_the_first_with_one(
    kernel: Filter, clock: list[float]
) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary()
    look(guard, primary, clock, 3)
    assert not primary.read_only
    primary.replies = {}
    look(guard, primary, clock, strict.SHORT_LOOKS - 1)
    assert not primary.read_only, "no loss yet: a standby follows a new primary"
    look(guard, primary, clock)
    assert primary.read_only
    primary.replies = {"13": "1"}
    look(guard, primary, clock)
    assert not primary.read_only


def test_writes_are_refused_while_the_disk_is_full(kernel: Filter, clock: list[float], tmp_path: Path) -> None:
    full = tmp_path / "full"
    guard, primary = strict.Strict(1, 5432, str(full)), Primary()
    full.touch()
    look(guard, primary, clock)
    assert primary.read_only and primary.terminated == []
    primary.replies = {}
    look(guard, primary, clock, strict.SHORT_LOOKS)
    full.unlink()
    look(guard, primary, clock)
    assert primary.read_only, "no standby confirms"
    primary.replies = {"13": "1"}
    look(guard, primary, clock)
    assert not primary.read_only


def test_more_may_be_needed_than_one(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(2, 5432, "/nonexistent"), Primary()
    del primary.replies["11"]
    look(guard, primary, clock, strict.SHORT_LOOKS)
    assert primary.read_only


def test_standbys_that_are_connected_and_silent_are_refused_in_time(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary()
    look(guard, primary, clock, 20)
    assert not primary.read_only
    primary.answering = False
    began, looks = clock[0], 0
    while not primary.read_only:
        looks += 1
        assert looks < 20
        look(guard, primary, clock)
    assert 2.5 <= clock[0] - began <= 4
    primary.answering = True
    look(guard, primary, clock, 5)  # the next heartbeat is answered
    assert not primary.read_only


def test_nobody_is_called_silent_for_a_pause_of_the_guard_itself(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary()
    look(guard, primary, clock, 5)
    primary.answering = False
    clock[0] += 60
    look(guard, primary, clock, 3)
    assert not primary.read_only


def test_one_silent_standby_of_two_refuses_nothing(kernel: Filter, clock: list[float]) -> None:
    silence = strict.Silence()
    assert [silence.speaking({"11": "frozen", "12": str(n)}) for n in range(15)] == [2] * 8 + [1] * 7


def test_a_heartbeat_is_written_each_second_on_the_primary_alone(kernel: Filter, clock: list[float]) -> None:
    primary, standby = Primary(), Primary(standby=True)
    guard = strict.Strict(1, 5432, "/nonexistent")
    look(guard, primary, clock, 12)
    assert primary.heartbeats == 3
    look(strict.Strict(1, 5432, "/nonexistent"), standby, clock, 12)
    assert standby.heartbeats == 0


def test_backends_that_wait_are_terminated_only_while_writes_are_refused(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary(waiting=[7])
    look(guard, primary, clock, 4)
    assert primary.terminated == []
    primary.replies = {}
    look(guard, primary, clock, strict.SHORT_LOOKS)
    assert primary.terminated == [7]


def test_cancels_are_refused_from_the_second_look_of_a_wait_until_nobody_waits(
    kernel: Filter, clock: list[float]
) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary(waiting=[7])
    look(guard, primary, clock)
    assert kernel.up == [False], "a predecessor may have left it up"
    primary.waiting = [8]
    look(guard, primary, clock)
    assert kernel.up == [False], "another backend: each waited for one look"
    look(guard, primary, clock, 2)
    assert kernel.up == [False, True]
    primary.waiting = []
    look(guard, primary, clock, 2)
    assert kernel.up == [False, True, False]


def test_a_shield_that_could_not_be_raised_is_tried_again(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary(waiting=[7])
    look(guard, primary, clock)
    kernel.works = False
    look(guard, primary, clock, 2)
    kernel.works = True
    look(guard, primary, clock, 2)
    assert kernel.up == [False, True, True, True]


def test_a_demoted_primary_takes_everything_back(kernel: Filter, clock: list[float]) -> None:
    guard, primary = strict.Strict(1, 5432, "/nonexistent"), Primary(waiting=[7], replies={})
    for _ in range(strict.SHORT_LOOKS):
        primary.waiting = [7]
        look(guard, primary, clock)
    assert (primary.read_only, kernel.up[-1]) == (True, True)
    primary.standby, primary.waiting = True, []
    look(guard, primary, clock)
    assert (primary.read_only, kernel.up[-1]) == (False, False)


@pytest.mark.parametrize(
    ("end", "works", "said"),
    [
        ("exit 0", True, ""),
        ("echo no such thing >&2; exit 1", False, "nft: no such thing"),
        ("exec sleep 99", False, "timed out"),
    ],
)
def test_a_failure_of_nft_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: str,
    works: bool,
    said: str,
) -> None:
    (tmp_path / "nft").write_text(f"#!/bin/sh\ncat >/dev/null\n{end}\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert strict.shield(5432, True) is works
    assert said in capsys.readouterr().out


def test_the_question_is_one_that_postgresql_answers(server: Server) -> None:  # noqa: F811
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        assert connection.execute(strict.LOOK).fetchone() == (False, False, False, None, None)


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
    source = strict.__file__.removesuffix("/tercet/nodeside/strict.py")
    guard = "import sys; sys.path.insert(0, {!r}); from tercet.nodeside import strict; print(strict.shield(5432, {}))"
    with Namespaces() as spaces:
        client, database = spaces.new(), spaces.new()
        spaces.join(client, database, 1)
        assert spaces.line(spaces.start(database, "python3", "-c", LISTENER)) == "listens"

        def said(packet: bytes) -> str:
            return spaces.line(spaces.start(client, "python3", "-c", CLIENT, packet.hex()))

        def shield(up: bool) -> str:
            return spaces.line(spaces.start(database, sys.executable, "-c", guard.format(source, up)))

        assert len(CANCEL) == len(STARTUP) == 16
        assert (said(CANCEL), said(STARTUP)) == ("answered", "answered")
        assert shield(True) == "True"
        assert (said(CANCEL), said(STARTUP)) == ("reset", "answered")
        assert shield(False) == "True"
        assert said(CANCEL) == "answered"
