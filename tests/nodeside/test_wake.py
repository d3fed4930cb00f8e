"""Patroni is woken when the leader key changes hands and when its postmaster ends, and by nothing else."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tercet.nodeside import wake


class Agent(ThreadingHTTPServer):
    """A `dcs` agent and a Patroni in one: answers a question for the key when it has changed since."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.changed = threading.Condition()
        self.index, self.holder, self.failover, self.begun = 5, "db-one", "", 3
        self.told = threading.Semaphore(0)
        self.patches: queue.Queue[tuple[str, str]] = queue.Queue()
        self.asked = threading.Semaphore(0)

    def move(self, holder: str, index: int | None = None) -> None:
        with self.changed:
            self.index = self.index + 1 if index is None else index
            self.holder = holder
            self.changed.notify_all()

    def switch(self, leader: str, member: str) -> None:
        """Returns when it is known."""
        with self.changed:
            self.failover = json.dumps({"leader": leader, "member": member})
            self.begun += 1
            self.changed.notify_all()
        assert self.told.acquire(timeout=5)


class Answers(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        server = self.server
        seen = int(self.path.split("index=")[1].split("&")[0])
        if "/failover?" in self.path:
            server.told.release()
            with server.changed:
                server.changed.wait_for(lambda: server.begun != seen, timeout=10)
            return self._answer(200 if server.failover else 404, server.failover.encode(), server.begun)
        server.asked.release()
        with server.changed:
            server.changed.wait_for(lambda: server.index != seen, timeout=10)
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


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def start(agent: Agent) -> None:
    port = agent.server_address[1]
    waker = wake.waker(("127.0.0.1", port), "patroni", "secret")
    leader, failover = (wake.Key(port, "service/x", name) for name in ("leader", "failover"))
    switchover = wake.Switchover()
    threading.Thread(target=wake.watch_switchover, args=(failover, switchover), daemon=True).start()
    threading.Thread(target=wake.watch_leader, args=(leader, switchover, "db-two", waker), daemon=True).start()
    for looks in (agent.asked, agent.told):
        for _ in range(2):  # the first look, and the one that waits
            assert looks.acquire(timeout=5)


def test_a_new_holder_and_none_wake_patroni_with_a_change_of_nothing(agent: Agent) -> None:
    start(agent)
    agent.move("")
    assert agent.patches.get(timeout=5) == ("Basic cGF0cm9uaTpzZWNyZXQ=", json.dumps({"tercet_wake": None}))
    agent.move("db-two")
    agent.patches.get(timeout=5)
    assert agent.patches.empty()


def test_a_free_key_wakes_only_the_candidate_of_a_switchover(agent: Agent) -> None:
    agent.failover = json.dumps({"leader": "db-one", "member": "db-three"})
    start(agent)
    agent.move("")
    assert agent.asked.acquire(timeout=5)
    assert agent.patches.empty()
    agent.move("db-three")
    agent.patches.get(timeout=5)
    agent.switch("db-three", "db-two")
    agent.move("")
    agent.patches.get(timeout=5)


@pytest.mark.parametrize(("candidate", "woken"), [("db-three", True), ("db-two", False), ("", False)])
def test_the_end_of_the_stream_wakes_who_looks_on_in_a_switchover(tmp_path: Path, candidate: str, woken: bool) -> None:
    reasons: queue.Queue[str] = queue.Queue()
    pid_file, switchover = tmp_path / "postmaster.pid", wake.Switchover()
    switchover.candidate = candidate
    fork = "sleep 60 & bash -c 'exec -a \"postgres: x: walreceiver streaming 0/1\" sleep 60' & wait"
    with subprocess.Popen(["bash", "-c", fork], start_new_session=True) as postmaster:
        try:
            pid_file.write_text(f"{postmaster.pid}\n/data\n")
            wait_until(lambda: wake.walreceiver(postmaster.pid) > 0)
            args = (str(pid_file), switchover, "db-two", reasons.put)
            threading.Thread(target=wake.watch_stream, args=args, daemon=True).start()
            with pytest.raises(queue.Empty):
                reasons.get(timeout=1)
            os.kill(wake.walreceiver(postmaster.pid), signal.SIGKILL)
            if woken:
                assert reasons.get(timeout=5) == "the old primary's stream ended, db-three is to lead"
            with pytest.raises(queue.Empty):
                reasons.get(timeout=1)
        finally:
            os.killpg(postmaster.pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_same_holder_wakes_nobody_and_an_index_that_fell_is_no_end(agent: Agent) -> None:
    start(agent)
    agent.move("db-one")
    agent.move("db-one", index=2)
    assert agent.asked.acquire(timeout=5)
    agent.move("db-two")
    agent.patches.get(timeout=5)
    assert agent.patches.empty()


@pytest.mark.parametrize("crashed", [True, False])
def test_a_crash_of_the_postmaster_wakes_patroni_and_a_planned_stop_does_not(tmp_path: Path, crashed: bool) -> None:
    reasons: queue.Queue[str] = queue.Queue()
    pid_file = tmp_path / "postmaster.pid"
    threading.Thread(target=wake.watch_postmaster, args=(str(pid_file), reasons.put), daemon=True).start()
    with subprocess.Popen(["sleep", "60"]) as postmaster:
        pid_file.write_text(f"{postmaster.pid}\n/data\n")
        with pytest.raises(queue.Empty):
            reasons.get(timeout=1)
        if not crashed:
            pid_file.unlink()  # as PostgreSQL does right before it leaves
        postmaster.kill()
        postmaster.wait()
    if crashed:
        assert reasons.get(timeout=5) == f"postmaster {postmaster.pid} crashed"
    else:
        with pytest.raises(queue.Empty):
            reasons.get(timeout=1.5)
    pid_file.unlink(missing_ok=True)


def test_a_patroni_that_is_away_is_said_and_harms_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    wake.waker(("127.0.0.1", 1), "a", "b")("x holds the leader key")
    assert "Patroni does not answer" in capsys.readouterr().out
