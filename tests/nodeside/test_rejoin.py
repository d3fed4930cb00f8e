"""Nomad's client is restarted once for each silence, when its servers answer again, and never without need."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tercet.nodeside.rejoin import Agent, Rejoin, seconds

from .delivery import loopback


class Nomad:
    """The two answers of the agent that are used, as Nomad 1.11 gives them."""

    def __init__(self) -> None:
        self.last, self.ttl, self.leader = "1.2s", "9.5s", '"100.64.0.1:4647"'
        self.status = 200
        nomad = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                client = {"last_heartbeat": nomad.last, "heartbeat_ttl": nomad.ttl}
                text = nomad.leader if "leader" in self.path else json.dumps({"stats": {"client": client}})
                self.send_response(nomad.status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def nomad() -> Iterator[Nomad]:
    nomad = Nomad()
    yield nomad
    nomad.server.shutdown()


def test_a_client_is_restarted_once_for_each_silence(nomad: Nomad) -> None:
    rejoin = Rejoin(Agent(loopback(nomad.server.server_port)))
    assert [rejoin.poll() for _ in range(3)] == [False] * 3
    for _ in range(2):
        nomad.last, nomad.leader = "49.5s", '""'  # cut off
        assert [rejoin.poll() for _ in range(3)] == [False] * 3
        nomad.leader = '"100.64.0.1:4647"'  # and back
        assert [rejoin.poll() for _ in range(5)] == [False, True, False, False, False]
        nomad.last = "850.1ms"
        assert not rejoin.poll()


@pytest.mark.parametrize("last", ["9.5s", "14.4s", "", "soon", "2562047h47m16.854775807s"])
def test_a_client_that_is_in_time_or_says_nothing_sensible_is_left_alone(nomad: Nomad, last: str) -> None:
    nomad.last = last
    rejoin = Rejoin(Agent(loopback(nomad.server.server_port)))
    assert not any(rejoin.poll() for _ in range(5))


def test_an_agent_that_fails_or_is_gone_is_left_alone(nomad: Nomad) -> None:
    nomad.last, nomad.status = "5m0s", 500
    assert not any(Rejoin(Agent(loopback(port))).poll() for port in (nomad.server.server_port, 9) for _ in range(3))


def test_durations_are_read_as_go_prints_them() -> None:
    assert seconds("1h2m3.5s") == 3723.5
    assert seconds("850.25ms") == pytest.approx(0.85025)
    assert seconds("12µs") == pytest.approx(12e-6)
    for wrong in ("", "5", "s", "1m 3s", "-3s"):
        with pytest.raises(ValueError, match="expected a duration"):
            seconds(wrong)
