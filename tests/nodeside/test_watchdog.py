"""Patroni's watchdog: who is silent is ended after its time; who is well, or was only not watched, is left alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import BinaryIO

import psycopg
import pytest

from tercet.nodeside import watchdog
from tercet.nodeside.keepalives import Keepalives
from tercet.nodeside.watchdog import Fence, Postmaster, Watch

from ..drills.conftest import Server, serve
from .delivery import loopback


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def primary() -> Iterator[Server]:
    """A PostgreSQL that the test may kill."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or shutil.which("psql") is None:
        pytest.skip("no PostgreSQL server installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="tercet-postgresql-", ignore_cleanup_errors=True) as directory:
        yield from serve(Path(directory), found[-1].parent)


def processes_of(postmaster: int) -> list[int]:
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *(int(child) for child in children)]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
    started = time.perf_counter()  # `clock` stops the other one
    while not holds():
        assert time.perf_counter() - started < seconds, what
        time.sleep(0.05)
    return time.perf_counter() - started


# What is silent, and since when


def test_it_is_ended_once_the_answer_has_been_missing_for_the_limit(clock: list[float]) -> None:
    answers, ended = [True], list[tuple[float, str]]()
    watch = Watch("patroni", 6.0, lambda: answers[0], lambda why: ended.append((clock[0], why)))
    watch.poll()
    answers[0] = False
    for _ in range(20):
        clock[0] += 1
        watch.poll()
    assert [at for at, _ in ended] == [106.0, 112.0, 118.0], "its successor gets the full time"
    assert ended[0][1] == "patroni has not answered for 6.0 s"


def test_one_answer_is_enough(clock: list[float]) -> None:
    ended = list[str]()
    count = [0]

    def ask() -> bool:
        count[0] += 1
        return count[0] % 5 == 0

    watch = Watch("the postmaster", 5.0, ask, ended.append)
    for _ in range(30):
        clock[0] += 1
        watch.poll()
    assert ended == []


def test_its_own_pause_is_nobodys_silence(clock: list[float]) -> None:
    answers, ended = [True], list[str]()
    watch = Watch("patroni", 6.0, lambda: answers[0], ended.append)
    watch.poll()
    clock[0] += 3600  # suspended, and the one that it asks was suspended with it
    answers[0] = False
    watch.poll()
    clock[0] += 1
    watch.poll()
    answers[0] = True
    clock[0] += 1
    watch.poll()
    assert ended == []


def test_after_a_pause_everybody_gets_the_full_time(clock: list[float]) -> None:
    """Seen after a freeze of 40 s: a Patroni that was back in its first turn was killed after three looks."""
    answers, ended = [True], list[float]()
    watch = Watch("patroni", 6.0, lambda: answers[0], lambda _why: ended.append(clock[0]))
    watch.poll()
    answers[0] = False
    clock[0] += 1
    watch.poll()
    clock[0] += 40  # the node was frozen
    thawed = clock[0]
    for _ in range(8):
        watch.poll()
        clock[0] += 1
    assert [at - thawed for at in ended] == [6.0]


class World:
    """What a fence can do, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keepalives"
        self.file.write_bytes(b"Ctimeout=12\n")
        self.done: list[str] = []
        self.role = "primary"
        self.answers = True  # of dcs
        self.fence = Fence(self, Keepalives(str(self.file)), self, 9.0, 12.0)  # type: ignore[arg-type]

    def is_primary(self) -> bool:
        return self.role == "primary"

    def kill(self) -> None:
        self.done.append("fenced")
        self.role = "dead"

    def keepalive(self) -> None:
        with self.file.open("ab") as file:
            file.write(b"1")

    def poll(self) -> None:
        self.fence.poll(lambda _why: self.done.append("patroni killed"), lambda: self.done.append("key given up"))


def test_a_primary_without_keepalives_loses_its_patroni_then_its_life(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.keepalive()
    world.poll()
    done = dict[float, list[str]]()
    for _ in range(60):
        clock[0] += 0.25
        before = len(world.done)
        world.poll()
        if world.done[before:]:
            done[clock[0] - 100.0] = world.done[before:]
    assert done == {9.0: ["patroni killed"], 12.0: ["fenced", "key given up"]}


def test_a_patroni_whose_dcs_is_silent_is_not_hung_but_its_primary_is_fenced(
    tmp_path: Path, clock: list[float]
) -> None:
    """Seen in a cut of a site: Patroni was killed while it demoted, and nobody started PostgreSQL again."""
    world = World(tmp_path)
    world.keepalive()
    world.poll()
    world.answers = False
    done = dict[float, list[str]]()
    for _ in range(60):
        clock[0] += 0.25
        before = len(world.done)
        world.poll()
        if world.done[before:]:
            done[clock[0] - 100.0] = world.done[before:]
    assert done == {12.0: ["fenced", "key given up"]}


def test_a_patroni_has_its_time_once_dcs_answers_again(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.keepalive()
    world.poll()
    for second in range(11):
        world.answers = second >= 8
        clock[0] += 1
        world.poll()
    assert world.done == []


def test_a_restarted_patroni_has_the_rest_of_the_time(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    for second in range(60):
        clock[0] += 1
        if second % 10 == 0:
            world.keepalive()
        world.poll()
    assert world.done == ["patroni killed"] * 6, "killed once in each silence of ten seconds, never fenced"


def test_a_patroni_that_takes_long_to_start_is_not_killed_and_gains_no_time(tmp_path: Path, clock: list[float]) -> None:
    """Seen on a starved machine: killed at each start, it never came up, and as each start emptied the file, the
    primary was never fenced."""
    world = World(tmp_path)
    world.keepalive()
    world.poll()
    world.file.write_bytes(b"")  # it was killed, and a new one starts
    for _ in range(11):
        clock[0] += 1
        world.poll()
    assert world.done == []
    world.file.write_bytes(b"")
    clock[0] += 1
    world.poll()
    assert world.done == ["fenced", "key given up"]


@pytest.mark.parametrize("role", ["standby", "dead"])
def test_only_a_primary_is_fenced(tmp_path: Path, clock: list[float], role: str) -> None:
    world = World(tmp_path)
    world.role = role
    for _ in range(200):
        clock[0] += 1
        world.poll()
    assert world.done == []


def test_a_watchdog_that_patroni_switched_off_does_nothing(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    with world.file.open("ab") as file:
        file.write(b"1V")
    for _ in range(200):
        clock[0] += 1
        world.poll()
    assert world.done == []


def lead(path: Path, keepalives: int) -> BinaryIO:
    """What Patroni's driver "testing" does when it becomes the leader, and while it is."""
    device = path.open("r+b", buffering=0)
    device.write(b"Ctimeout=12\n" + b"1" * keepalives)
    return device


def follow(device: BinaryIO) -> None:
    device.write(b"V")
    device.close()


def test_what_an_earlier_lead_left_in_the_file_does_not_switch_the_watchdog_off(tmp_path: Path) -> None:
    """Seen: a primary whose Patroni was killed was never fenced, since it had led before, and for longer."""
    path = tmp_path / "keepalives"
    path.touch()
    keepalives = Keepalives(str(path))
    follow(lead(path, 100))
    with lead(path, 5):  # before anybody has looked
        keepalives.settle()
        assert not keepalives.disarmed()
    keepalives.settle()
    assert not keepalives.disarmed(), "it ended without switching it off"
    follow(lead(path, 50))
    keepalives.settle()
    assert keepalives.disarmed() and path.read_bytes() == b"V"
    with lead(path, 5):
        pass
    keepalives.settle()
    assert not keepalives.disarmed()


def test_without_the_file_a_primary_is_fenced(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.poll()
    world.file.unlink()
    world.poll()
    for _ in range(20):
        clock[0] += 1
        world.poll()
    assert "fenced" in world.done


def test_a_pause_of_everybody_fences_nobody(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    world.poll()
    clock[0] += 30  # the whole node was frozen
    for _ in range(watchdog.MIN_LOOKS - 2):
        clock[0] += 0.25
        world.poll()
    world.keepalive()
    world.poll()
    assert world.done == []


def test_the_wall_clock_does_not_matter(tmp_path: Path, clock: list[float]) -> None:
    world = World(tmp_path)
    for step in (3600, -7200, 3600):
        stamp = time.time() + step  # a keepalive that was written after the clock was stepped
        os.utime(world.file, (stamp, stamp))
        for _ in range(8):
            clock[0] += 1
            world.poll()
    assert world.done == []


# Patroni and PostgreSQL themselves


def answering(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(256)
        connection.sendall(answer)


@pytest.mark.parametrize(("status", "well"), [("200 OK", True), ("503 Service Unavailable", False)])
def test_a_patroni_is_well_if_it_says_so(status: str, well: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answer = threading.Thread(target=answering, args=(listener, f"HTTP/1.0 {status}\r\n\r\n".encode()))
        answer.start()
        assert watchdog.patroni_is_well(loopback(port), 60) is well
        answer.join()
        assert not watchdog.patroni_is_well(loopback(port), 0.2), "it accepts and says nothing"
    assert watchdog.patroni_is_well(loopback(port), 0.2), "refused: that is systemd's affair"


def test_a_postmaster_is_silent_only_if_it_accepts_and_says_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert watchdog.postmaster_answers(path, 0.2), "no socket: it is down, not frozen"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert not watchdog.postmaster_answers(path, 0.2)
        listener.accept()[0].close()
        answer = threading.Thread(target=answering, args=(listener, b"N"))
        answer.start()
        assert watchdog.postmaster_answers(path, 60)
        answer.join()
    assert watchdog.postmaster_answers(path, 0.2)


def test_a_primary_is_killed_with_all_its_processes_also_when_it_is_frozen(primary: Server) -> None:
    data = primary.directory / "data"
    postmaster = Postmaster(str(data))
    pid = primary.postmaster()
    assert postmaster.pid() == pid
    assert postmaster.is_primary()
    (data / "standby.signal").touch()
    assert not postmaster.is_primary()
    (data / "standby.signal").unlink()
    every = processes_of(pid)
    assert len(every) > 3
    os.kill(pid, signal.SIGSTOP)
    postmaster.kill()
    wait_until(lambda: all(is_gone(one) for one in every), "every process is gone")
    assert postmaster.pid() == 0
    postmaster.kill()  # a second time: nobody is left to kill


def test_a_shutdown_that_waits_for_its_sessions_is_hurried(primary: Server, clock: list[float]) -> None:
    postmaster, pid = Postmaster(str(primary.directory / "data")), primary.postmaster()
    hurry = watchdog.Shutdown(postmaster)

    def poll(times: int) -> None:
        for _ in range(times):
            clock[0] += 1
            hurry.poll()

    with psycopg.connect(primary.conninfo):
        poll(5)
        assert not postmaster.stopping()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: postmaster.stopping() == pid, "it says that it shuts down")
        poll(2)
        assert postmaster.stopping() == pid, "an orderly shutdown has its time"
        poll(1)
        wait_until(lambda: is_gone(pid), "it has ended its sessions, and itself")
    poll(5)


@pytest.mark.parametrize("found", ["{own}", "-{own}", "-1", "1", "0", "", "x"])
def test_a_pid_file_proves_nothing(tmp_path: Path, found: str) -> None:
    """It names this very process, its group, everybody, init, or nothing that makes sense."""
    (tmp_path / "postmaster.pid").write_text(found.format(own=os.getpid()) + "\n")
    postmaster = Postmaster(str(tmp_path))
    assert postmaster.pid() == 0
    postmaster.kill()


def test_another_program_in_the_data_directory_is_no_postmaster(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as other:
        (tmp_path / "postmaster.pid").write_text(f"{other.pid}\n")
        assert Postmaster(str(tmp_path)).pid() == 0
        other.kill()


# The program as it runs on a node


class Catalogue(BaseHTTPRequestHandler):
    """The two calls of Consul's API that are used: the leader key is db-1's until its session is destroyed."""

    destroyed: list[str]

    def do_GET(self) -> None:
        value = base64.b64encode(b"db-1").decode()
        held = [{"Key": "service/x/leader", "Value": value, "Session": "s-1", "CreateIndex": 7}]
        self._answer(json.dumps([] if self.destroyed else held).encode())

    def do_PUT(self) -> None:
        self.destroyed.append(self.path)
        self._answer(b"true")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def keepalives(file: Path) -> Iterator[threading.Event]:
    """Written five times a second while the event is set."""
    on, end = threading.Event(), threading.Event()
    on.set()
    file.write_bytes(b"")

    def write() -> None:
        with file.open("wb", buffering=0) as open_file:
            while not end.wait(0.2):
                if on.is_set():
                    open_file.write(b"1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield on
    finally:
        end.set()
        writer.join()


@pytest.mark.timeout(300)
def test_it_fences_a_silent_primary_and_harms_nobody_when_it_is_itself_suspended(
    primary: Server, tmp_path: Path
) -> None:
    destroyed = list[str]()
    dcs = HTTPServer(("127.0.0.1", 0), type("Handler", (Catalogue,), {"destroyed": destroyed}))
    threading.Thread(target=dcs.serve_forever, daemon=True).start()
    config = {
        "node": "db-1", "patroni": loopback(9)._asdict(),
        "dcs": loopback(dcs.server_port)._asdict(), "scope": "service/x",
        "keepalives": str(tmp_path / "keepalives"), "data": str(primary.directory / "data"),
        "socket": str(tmp_path / "none"), "fence_s": 3.0, "hung_s": 60.0,
        "full": "/nonexistent", "stepped_down": str(tmp_path / "stepped-down"),
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    every = processes_of(primary.postmaster())
    with keepalives(tmp_path / "keepalives") as on:
        argv = [sys.executable, "-I", watchdog.__file__, str(tmp_path / "config.json")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout and program.stdout.readline() == "watching\n"
            program.send_signal(signal.SIGSTOP)
            time.sleep(5)  # longer than the fence's time
            program.send_signal(signal.SIGCONT)
            time.sleep(2)
            program.send_signal(signal.SIGSTOP)
            on.clear()
            time.sleep(5)  # Patroni was suspended, too
            program.send_signal(signal.SIGCONT)
            time.sleep(0.5)
            on.set()
            time.sleep(2)
            assert primary.sql("SELECT 1") == [["1"]]
            on.clear()
            took = wait_until(lambda: all(is_gone(one) for one in every), "the primary is fenced")
            assert took >= 2.5, "not before its time"
            assert program.stdout.readline().startswith("PostgreSQL is fenced: Patroni has renewed nothing for")
            assert program.stdout.readline() == "the leader key is given up\n"
            program.terminate()
    assert destroyed == ["/v1/session/destroy/s-1"]
    dcs.shutdown()


# A silent `dcs`, and a PostgreSQL that nobody starts


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, True), (500, False), (429, False)])
def test_dcs_answers_if_a_leader_says_whether_there_is_a_key(status: int, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = f"HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\n[]".encode()
        answer = threading.Thread(target=answering, args=(listener, said))
        answer.start()
        dcs = watchdog.LeaderKey(loopback(listener.getsockname()[1]), "service/proposalsapp", "db-1")
        dcs.answers = not answers
        dcs.ask()
        answer.join()
        assert dcs.answers is answers
    dcs.ask()
    assert dcs.answers is False, "nobody listens any more"


class Down:
    """A PostgreSQL that is down, and a silent `dcs`, as `is_left_down` sees them."""

    answers = False
    running = 0

    def pid(self) -> int:
        return self.running


@pytest.mark.parametrize(
    ("answers", "running", "may_start", "patroni", "left"),
    [
        (False, 0, True, "4711", True),
        (True, 0, True, "4711", False),  # Patroni starts it
        (False, 99, True, "4711", False),
        (False, 0, False, "4711", False),  # no data, or data that nobody may read
        (False, 0, True, "0", False),  # no Patroni runs: its gate is at work
    ],
)
def test_a_postgresql_that_patroni_leaves_down(
    monkeypatch: pytest.MonkeyPatch, answers: bool, running: int, may_start: bool, patroni: str, left: bool
) -> None:
    def run(argv: list[str]) -> str:
        if argv == ["may-start"] and not may_start:
            raise watchdog.ProgramError("may-start: status 1")
        return f"{patroni}\n" if argv[0] == "systemctl" else ""

    monkeypatch.setattr(watchdog, "run", run)
    found = Down()
    found.answers, found.running = answers, running
    assert watchdog.is_left_down(found, found, "may-start") is left  # type: ignore[arg-type]
