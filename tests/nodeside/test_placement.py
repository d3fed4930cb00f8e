"""The leader of `dcs` leaves the primary's site after five looks in a row, and for no other reason."""

from __future__ import annotations

import base64
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tercet.nodeside import placement

from .delivery import deliver, loopback

SITES = {"control-a": "a", "control-b": "b", "db-a": "a", "db-b": "b"}
CONFIG = {
    "dcs": loopback(1)._asdict(),
    "node": "control-a",
    "sites": SITES,
    "leader_key": "service/x/leader",
}
SERVERS = [
    {"ID": "one", "Node": "control-a", "Leader": True, "Voter": True},
    {"ID": "two", "Node": "control-b", "Leader": False, "Voter": True},
]


def key(holder: str) -> list[dict[str, str]]:
    return [{"Value": base64.b64encode(holder.encode()).decode()}]


def answers(holder: str) -> dict[str, Any]:
    members = [{"Name": server["Node"], "Status": 1} for server in SERVERS]
    return {"kv": key(holder), "operator": {"Servers": SERVERS}, "agent": members}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the agent answers, by the first word of what it is asked for."""
    said = answers("db-a")
    monkeypatch.setattr(placement, "ask", lambda config, path, method="GET": said[path.split("/")[0]])
    return said


def looks(sightings: placement.Sightings, times: int, began: float) -> list[str]:
    return [sightings.poll(began + number * placement.LOOK_S) for number in range(times)]


def test_the_lead_is_handed_over_at_the_fifth_look(agent: dict[str, Any]) -> None:
    assert looks(placement.Sightings(CONFIG), 10, 100) == ["", "", "", "", "two"] * 2


@pytest.mark.parametrize(
    "entry",
    [None, [], key("db-b"), key("nobody"), {"Value": 1}, [{"Value": "!"}], [{"Value": "/w=="}], "text", [[]], 7],
)
def test_any_other_answer_starts_the_count_anew(agent: dict[str, Any], entry: Any) -> None:
    sightings = placement.Sightings(CONFIG)
    looks(sightings, 4, 100)
    agent["kv"] = entry
    with suppress(placement.MALFORMED):
        assert looks(sightings, 1, 108) == [""]
    agent["kv"] = key("db-a")
    assert looks(sightings, 5, 110) == ["", "", "", "", "two"]


def test_a_pause_starts_the_count_anew(agent: dict[str, Any]) -> None:
    sightings = placement.Sightings(CONFIG)
    looks(sightings, 4, 100)
    assert looks(sightings, 5, 3700) == ["", "", "", "", "two"]


@pytest.mark.parametrize(
    "servers",
    [
        [{**SERVERS[0], "Leader": False}, {**SERVERS[1], "Leader": True}],  # this node does not lead
        [SERVERS[0], {**SERVERS[1], "Voter": False}],
        [SERVERS[0], {**SERVERS[1], "Node": "control-c"}],  # whom gossip does not know
        [SERVERS[0]],
    ],
)
def test_nobody_leads_instead_who_should_not(agent: dict[str, Any], servers: list[dict[str, Any]]) -> None:
    agent["operator"] = {"Servers": servers}
    assert looks(placement.Sightings(CONFIG), 5, 100)[-1] == ""


class Agent(ThreadingHTTPServer):
    """An agent of `dcs`. `silent`: it accepts and never answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: queue.Queue[str] = queue.Queue()
        self.transfers: queue.Queue[str] = queue.Queue()
        self.silent = threading.Event()
        self.over = threading.Event()


class Answers(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        self.server.asked.put(self.path)
        if self.server.silent.is_set():
            self.server.over.wait(60)
        body = json.dumps(answers("db-a")[self.path.split("/")[2]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.transfers.put(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Agent]:
    with Agent() as agent:
        thread = threading.Thread(target=agent.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield agent
        agent.over.set()
        agent.shutdown()
        thread.join()


def test_a_real_one_that_was_suspended_or_heard_nothing_begins_anew(serving: Agent, tmp_path: Path) -> None:
    config = {**CONFIG, "dcs": loopback(serving.server_address[1])._asdict()}
    with subprocess.Popen(deliver(tmp_path, "placement", config), stdout=subprocess.PIPE, text=True) as daemon:
        try:
            for trouble in ("suspended", "silent"):
                for _ in range(3):
                    serving.asked.get(timeout=60)
                if trouble == "suspended":
                    daemon.send_signal(signal.SIGSTOP)
                    time.sleep(10)
                    daemon.send_signal(signal.SIGCONT)
                else:
                    serving.silent.set()
                    serving.asked.get(timeout=60)
                    time.sleep(1)
                    serving.silent.clear()
            for _ in range(4):
                serving.asked.get(timeout=60)
            assert serving.transfers.empty()
            assert serving.transfers.get(timeout=60) == "/v1/operator/raft/transfer-leader?id=two"
            assert serving.transfers.empty()
        finally:
            daemon.kill()
