"""Members that gossip calls failed are joined again as soon as `dcs` sees their node, and only then."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tercet.nodeside import pools
from tercet.nodeside.pools import Pools
from tercet.nodeside.tailnet import Tailnet

from .delivery import loopback

A, B, C = "100.64.0.1", "100.64.0.2", "100.64.0.3"


class Agent:
    """The two answers of an agent that are used, as Consul 1.22 and Nomad 1.11 give them."""

    def __init__(self) -> None:
        self.members: Any = []
        self.asked: list[str] = []
        self.joined: list[str] = []
        self.status, self.late = 200, 0.0
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agent.asked.append(self.path)
                self.answer(200, json.dumps(agent.members))

            def do_PUT(self) -> None:
                agent.joined.append(self.path)
                time.sleep(agent.late)
                self.answer(agent.status, "connection refused" if agent.status != 200 else "")

            def answer(self, status: int, text: str) -> None:
                try:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(text.encode())
                except OSError:  # who asked has gone
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def consul(self, **status: int) -> None:
        """Members by the last letter of their name."""
        addresses = {"a": A, "b": B, "c": C, "x": "8.8.8.8"}
        self.members = [
            {"Name": f"n-{name}", "Addr": addresses[name], "Port": 8302, "Status": number}
            for name, number in status.items()
        ]


@contextmanager
def served() -> Iterator[Agent]:
    agent = Agent()
    thread = threading.Thread(target=agent.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        agent.server.shutdown()
        agent.server.server_close()


@pytest.fixture
def dcs() -> Iterator[Agent]:
    with served() as agent:
        yield agent


@pytest.fixture
def pool() -> Iterator[Agent]:
    with served() as agent:
        yield agent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(pools.time, "monotonic", lambda: now[0])
    return now


def watch(dcs: Agent, pool: Agent, kind: str = "consul-wan") -> Pools:
    return Pools(loopback(dcs.port), [[kind, loopback(pool.port)._asdict()]], Tailnet("100.64.0.0/10"))


def test_a_failed_member_is_joined_once_dcs_sees_its_node(dcs: Agent, pool: Agent) -> None:
    watched = watch(dcs, pool)
    dcs.consul(a=1, b=4)
    pool.consul(a=1, b=4)
    watched.poll()
    assert pool.joined == [] and pool.asked == ["/v1/agent/members?wan=1"]
    dcs.consul(a=1, b=1)
    watched.poll()
    assert pool.joined == [f"/v1/agent/join/{B}:8302?wan=1"]


def test_nobody_is_joined_who_is_alive_has_left_or_is_not_of_the_tailnet(dcs: Agent, pool: Agent) -> None:
    watched = watch(dcs, pool)
    dcs.consul(a=1, b=1, x=1)
    pool.consul(a=1, b=3, x=4)
    watched.poll()
    assert pool.joined == []


def test_servers_of_nomad(dcs: Agent, pool: Agent) -> None:
    watched = watch(dcs, pool, "nomad")
    dcs.consul(a=1, b=1, c=1)
    pool.members = {
        "Members": [
            {"Name": "n-a.global", "Addr": A, "Port": 4648, "Status": "alive"},
            {"Name": "n-b.global", "Addr": B, "Port": 4648, "Status": "failed"},
            {"Name": "n-c.global", "Addr": C, "Port": 4648, "Status": "left"},
        ]
    }
    watched.poll()
    assert pool.joined == [f"/v1/agent/join?address={B}:4648"]


def test_a_member_whose_node_has_another_address_is_joined_there(dcs: Agent, pool: Agent) -> None:
    watched = watch(dcs, pool, "nomad")
    dcs.consul(b=1)
    pool.members = {"Members": [{"Name": "n-b.global", "Addr": C, "Port": 4648, "Status": "failed"}]}
    watched.poll()
    assert pool.joined == [f"/v1/agent/join?address={B}:4648"]


def test_one_that_cannot_be_joined_is_tried_ever_less_often(dcs: Agent, pool: Agent, clock: list[float]) -> None:
    """Its process may have been stopped, while its node is there."""
    watched = watch(dcs, pool)
    dcs.consul(b=1)
    pool.consul(b=4)
    pool.status = 500
    at = list[float]()
    for _ in range(120):
        before = len(pool.joined)
        watched.poll()
        at += [clock[0] - 100] * (len(pool.joined) - before)
        clock[0] += 1
    assert at == [0, 2, 6, 14, 30, 60, 90]
    dcs.consul(b=4)  # away, and there again
    watched.poll()
    dcs.consul(b=1)
    before = len(pool.joined)
    watched.poll()
    assert len(pool.joined) == before + 1


def test_all_get_their_turn_and_one_that_hangs_holds_a_look_up_for_seconds_only(
    dcs: Agent, pool: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "JOIN_S", 0.2)
    watched = watch(dcs, pool)
    dcs.consul(b=1, c=1)
    pool.consul(b=4, c=4)
    pool.late = 0.5
    watched.poll()
    pool.late = 0.0
    deadline = time.monotonic() + 30
    while len(pool.joined) < 2 and time.monotonic() < deadline:
        watched.poll()
    assert {path.partition("join/")[2] for path in pool.joined[:2]} == {f"{B}:8302?wan=1", f"{C}:8302?wan=1"}


@pytest.mark.parametrize("members", [None, {"Members": 3}, [{"Name": "n"}], "no"])
def test_an_answer_without_sense_is_none(dcs: Agent, pool: Agent, members: object) -> None:
    watched = watch(dcs, pool)
    dcs.consul(b=1)
    pool.members = members
    watched.poll()
    dcs.members, pool.members = members, []
    watched.poll()
    assert pool.joined == []


def test_agents_that_do_not_answer_are_waited_for(dcs: Agent, pool: Agent) -> None:
    watched = watch(dcs, pool)
    dcs.consul(b=1)
    pool.consul(b=4)
    for gone in (pool, dcs):
        gone.server.shutdown()
        gone.server.server_close()
        watched.poll()
    assert pool.joined == []
