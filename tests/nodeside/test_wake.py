"""Patroni is woken when the leader key changes hands and when its postmaster ends, and by nothing else."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tercet.nodeside import wake
from tercet.nodeside.endpoint import Endpoint

from .delivery import deliver, loopback

PATIENCE_S = 60.0


class Agent(ThreadingHTTPServer):
    """A `dcs` agent and a Patroni in one: answers a question for the key when it has changed since."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.changed = threading.Condition()
        self.index, self.holder, self.failover, self.begun = 5, "db-one", "", 3
        self.told = threading.Semaphore(0)
        self.over = False
        self.patches: queue.Queue[tuple[str, str]] = queue.Queue()
        self.asked = threading.Semaphore(0)

    def move(self, holder: str, index: int | None = None) -> None:
        with self.changed:
            self.index = self.index + 1 if index is None else index
            self.holder = holder
            self.changed.notify_all()

    def end(self) -> None:
        """Nobody waits for an answer any more."""
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def switch(self, leader: str, member: str) -> None:
        """Returns when it is known."""
        with self.changed:
            self.failover = json.dumps({"leader": leader, "member": member})
            self.begun += 1
            self.changed.notify_all()
        assert self.told.acquire(timeout=PATIENCE_S)


class Answers(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        server = self.server
        seen = int(self.path.split("index=")[1].split("&")[0])
        if "/failover?" in self.path:
            server.told.release()
            with server.changed:
                server.changed.wait_for(lambda: server.over or server.begun != seen, timeout=10)
            return self._answer(200 if server.failover else 404, server.failover.encode(), server.begun)
        server.asked.release()
        patience = float(self.path.split("wait=")[1].removesuffix("ms")) / 1000
        with server.changed:
            server.changed.wait_for(lambda: server.over or server.index != seen, timeout=patience)
            status, body, index = (200 if server.holder else 404), server.holder.encode(), server.index
        return self._answer(status, body, index)

    def _answer(self, status: int, body: bytes, index: int) -> None:
        self.send_response(status)
        self.send_header("X-Consul-Index", str(index))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.patches.put((self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


Start = Callable[..., None]


class OverError(Exception):
    """The test is over."""


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts what watches forever. At the end of the test it ends, too: as soon as it would rest."""
    over, threads = threading.Event(), list[threading.Thread]()

    def rest(seconds: float) -> None:
        if over.wait(seconds):
            raise OverError

    def until_over(target: Callable[..., None], *args: object) -> None:
        with suppress(OverError):
            target(*args)

    def begin(target: Callable[..., None], *args: object) -> None:
        threads.append(threading.Thread(target=until_over, args=(target, *args), daemon=True))
        threads[-1].start()

    monkeypatch.setattr(wake, "time", SimpleNamespace(sleep=rest))
    monkeypatch.setattr(wake, "print", lambda *_, **__: None, raising=False)  # else it may come between two tests
    yield begin
    over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def agent(watch: Start) -> Iterator[Agent]:
    with Agent() as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()
            server.end()


def start(agent: Agent, watch: Start, patience_s: float = 0.0) -> None:
    port = agent.server_address[1]
    waker = wake.waker(Endpoint("127.0.0.1", port, authorization="Basic secret"))
    leader, failover = (wake.Key(loopback(port), "service/x", name) for name in ("leader", "failover"))
    switchover = wake.Switchover()
    watch(wake.watch_switchover, failover, switchover)
    watch(wake.watch_leader, leader, switchover, "db-two", patience_s, waker)
    for looks in (agent.asked, agent.told):
        for _ in range(2):  # the first look, and the one that waits
            assert looks.acquire(timeout=PATIENCE_S)


def watched(pid: int) -> bool:
    """Somebody here waits for the end of that process."""
    for info in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):
            if f"Pid:\t{pid}\n" in info.read_text():
                return True
    return False


def test_a_new_holder_and_none_wake_patroni_with_a_change_of_nothing(agent: Agent, watch: Start) -> None:
    start(agent, watch)
    agent.move("")
    assert agent.patches.get(timeout=PATIENCE_S) == ("Basic secret", json.dumps({"tercet_wake": None}))
    agent.move("db-two")
    agent.patches.get(timeout=PATIENCE_S)
    assert agent.patches.empty()


def test_a_node_far_from_the_others_is_woken_by_the_new_holder_and_not_by_the_free_key(
    agent: Agent, watch: Start
) -> None:
    start(agent, watch, patience_s=2.0)
    agent.move("")
    assert agent.asked.acquire(timeout=PATIENCE_S)
    agent.move("db-three")
    agent.patches.get(timeout=PATIENCE_S)
    assert agent.patches.empty()


def test_a_node_far_from_the_others_is_woken_if_none_of_these_leads(agent: Agent, watch: Start) -> None:
    start(agent, watch, patience_s=0.3)
    began = time.monotonic()
    agent.move("")
    agent.patches.get(timeout=PATIENCE_S)
    assert time.monotonic() - began >= 0.3


def test_a_free_key_wakes_only_the_candidate_of_a_switchover(agent: Agent, watch: Start) -> None:
    agent.failover = json.dumps({"leader": "db-one", "member": "db-three"})
    start(agent, watch)
    agent.move("")
    assert agent.asked.acquire(timeout=PATIENCE_S)
    assert agent.patches.empty()
    agent.move("db-three")
    agent.patches.get(timeout=PATIENCE_S)
    agent.switch("db-three", "db-two")
    agent.move("")
    agent.patches.get(timeout=PATIENCE_S)


@pytest.mark.parametrize(("candidate", "woken"), [("db-three", True), ("db-two", False), ("", False)])
def test_the_end_of_the_stream_wakes_who_looks_on_in_a_switchover(
    tmp_path: Path, watch: Start, candidate: str, woken: bool
) -> None:
    reasons: queue.Queue[str] = queue.Queue()
    pid_file, switchover = tmp_path / "postmaster.pid", wake.Switchover()
    switchover.candidate = candidate
    fork = "sleep 600 & bash -c 'exec -a \"postgres: x: walreceiver streaming 0/1\" sleep 600' & wait"
    with subprocess.Popen(["bash", "-c", fork], start_new_session=True) as postmaster:
        try:
            # A child that has not yet become its program has the shell's command line, where the name is, too.
            wait_until(lambda: programs(postmaster.pid) == ["postgres: x: walreceiver streaming 0/1", "sleep"])
            pid_file.write_text(f"{postmaster.pid}\n/data\n")
            watch(wake.watch_stream, str(pid_file), switchover, "db-two", reasons.put)
            wait_until(lambda: watched(wake.walreceiver(postmaster.pid)))
            assert reasons.empty()
            os.kill(wake.walreceiver(postmaster.pid), signal.SIGKILL)
            if woken:
                assert reasons.get(timeout=PATIENCE_S) == "the old primary's stream ended, db-three is to lead"
            with pytest.raises(queue.Empty):
                reasons.get(timeout=1)
        finally:
            os.killpg(postmaster.pid, signal.SIGKILL)


def programs(parent: int) -> list[str]:
    """What the children of a process call themselves."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(Path(f"/proc/{child}/cmdline").read_text().partition("\0")[0] for child in children)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_same_holder_wakes_nobody_and_an_index_that_fell_is_no_end(agent: Agent, watch: Start) -> None:
    start(agent, watch)
    agent.move("db-one")
    agent.move("db-one", index=2)
    assert agent.asked.acquire(timeout=PATIENCE_S)
    agent.move("db-two")
    agent.patches.get(timeout=PATIENCE_S)
    assert agent.patches.empty()


@pytest.mark.parametrize("crashed", [True, False])
def test_a_crash_of_the_postmaster_wakes_patroni_and_a_planned_stop_does_not(
    tmp_path: Path, watch: Start, crashed: bool
) -> None:
    reasons: queue.Queue[str] = queue.Queue()
    pid_file = tmp_path / "postmaster.pid"
    watch(wake.watch_postmaster, str(pid_file), reasons.put)
    with subprocess.Popen(["sleep", "600"]) as postmaster:
        try:
            pid_file.write_text(f"{postmaster.pid}\n/data\n")
            wait_until(lambda: watched(postmaster.pid))
            assert reasons.empty()
            if not crashed:
                pid_file.unlink()  # as PostgreSQL does right before it leaves
        finally:
            postmaster.kill()
            postmaster.wait()
    if crashed:
        assert reasons.get(timeout=PATIENCE_S) == f"postmaster {postmaster.pid} crashed"
    else:
        with pytest.raises(queue.Empty):
            reasons.get(timeout=1.5)
    pid_file.unlink(missing_ok=True)


def test_a_process_that_took_the_number_of_a_dead_postmaster_is_not_waited_for(tmp_path: Path, watch: Start) -> None:
    """The file of one that crashed stays, and its number may be another process's by now."""
    reasons: queue.Queue[str] = queue.Queue()
    pid_file = tmp_path / "postmaster.pid"
    with subprocess.Popen(["sleep", "600"]) as stranger, subprocess.Popen(["sleep", "600"]) as postmaster:
        try:
            pid_file.write_text(f"{stranger.pid}\n/data\n")
            watch(wake.watch_postmaster, str(pid_file), reasons.put)
            wait_until(lambda: watched(stranger.pid))
            pid_file.write_text(f"{postmaster.pid}\n/data\n")
            wait_until(lambda: watched(postmaster.pid))
        finally:
            postmaster.kill()
            postmaster.wait()
            assert reasons.get(timeout=PATIENCE_S) == f"postmaster {postmaster.pid} crashed"
            pid_file.unlink()
            stranger.kill()


@pytest.mark.parametrize("value", ["[]", '"db-one"', "3", "null", "{"])
def test_a_switchover_that_makes_no_sense_is_none(value: str) -> None:
    switchover = wake.Switchover()
    with suppress(ValueError):
        switchover.learn(value)
    assert not switchover.to_another("db-two")


class Daemon:
    """The program as a node gets it, beside an agent."""

    def __init__(self, folder: Path, agent: Agent) -> None:
        self.pid_file = folder / "postmaster.pid"
        port = agent.server_address[1]
        at = loopback(port)._asdict()
        config = {"dcs": at, "scope": "service/x", "node": "db-two", "patroni": at}
        config |= {"pid_file": str(self.pid_file), "patience_s": 0, "peers": []}
        self.process = subprocess.Popen(deliver(folder, "wake", config), stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def daemon(tmp_path: Path, agent: Agent) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, agent)
    with daemon.process:
        assert daemon.line() == "watching"
        for looks in (agent.asked, agent.told):
            for _ in range(2):
                assert looks.acquire(timeout=PATIENCE_S)
        yield daemon
        daemon.process.kill()


def test_one_that_was_suspended_learns_of_the_last_change_and_wakes_once(agent: Agent, daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGSTOP)
    for holder in ("", "db-three", "", "db-two"):
        agent.move(holder)
    time.sleep(10)
    assert agent.patches.empty()
    daemon.process.send_signal(signal.SIGCONT)
    agent.patches.get(timeout=PATIENCE_S)
    agent.move("db-three")
    agent.patches.get(timeout=PATIENCE_S)
    time.sleep(1)
    assert agent.patches.qsize() <= 1, "at most one for what it saw in between"


def test_without_one_of_its_threads_it_ends_as_a_whole() -> None:
    source = wake.__file__.removesuffix("/tercet/nodeside/wake.py")
    code = f"""
import sys, threading, time
sys.path.insert(0, {source!r})
from tercet.nodeside import wake
threading.excepthook = wake.end
threading.Thread(target=lambda: 1 // 0, daemon=True).start()
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_patroni_that_is_away_is_said_and_harms_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    wake.waker(loopback(1))("x holds the leader key")
    assert "Patroni does not answer" in capsys.readouterr().out
