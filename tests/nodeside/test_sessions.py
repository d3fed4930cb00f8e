"""Sessions of a dead database node end, those of a node that only gossip calls failed do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tercet
from tercet.nodeside.sessions import AGAIN_S, ASK_S, QUICK_S, SilentNodes

from .namespaces import Namespaces

NODE = "10.9.1.2"  # gethostbyname takes it for a name
# A `dcs` leader on the watcher's loopback: it calls NODE what its argument says, and prints what is destroyed.
DCS = r"""
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
status, lives = sys.argv[1], ["s-1", "s-2"]
class Leader(BaseHTTPRequestHandler):
    def answer(self, value, code=200):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path.startswith("/v1/health/node/10.9.1.2?consistent"):
            if status == "leaderless":
                return self.answer("No cluster leader", 500)
            return self.answer([{"CheckID": "disk", "Status": "critical"}, {"CheckID": "serfHealth", "Status": status}])
        assert self.path == "/v1/session/node/10.9.1.2", self.path
        return self.answer([{"ID": each} for each in lives])
    def do_PUT(self):
        ended = self.path.removeprefix("/v1/session/destroy/")
        lives.remove(ended)
        print("destroyed", ended, flush=True)
        return self.answer(True)
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 9500), Leader)
print("listens", flush=True)
server.serve_forever()
"""
WATCHER = """
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.sessions import watch_nodes
print("watches", flush=True)
watch_nodes(Endpoint("127.0.0.1", 9500), ["10.9.1.2"])
"""


class World:
    """A database node that watches another one."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces
        self._here, there = spaces.new(), spaces.new()
        spaces.join(self._here, there, 1)

    def dcs(self, status: str) -> subprocess.Popen[str]:
        server = self._spaces.start(self._here, sys.executable, "-c", DCS, status)
        assert self.line(server) == "listens"
        return server

    def watcher(self) -> subprocess.Popen[str]:
        source = str(Path(tercet.__file__).parent.parent)
        watcher = self._spaces.start(self._here, sys.executable, "-c", WATCHER, environment={"PYTHONPATH": source})
        assert self.line(watcher) == "watches"
        return watcher

    def line(self, process: subprocess.Popen[str]) -> str:
        return self._spaces.line(process)

    def cut(self) -> None:
        """The link falls silent in both directions, without an error."""
        self._spaces.run(
            self._here, "nft 'add table ip cut; add chain ip cut i { type filter hook input priority 0; }'"
        )
        self._spaces.run(self._here, f"nft 'add rule ip cut i ip saddr {NODE} drop'")


@pytest.fixture
def world() -> Iterator[World]:
    with Namespaces() as spaces:
        yield World(spaces)


def silent(process: subprocess.Popen[str], seconds: float) -> bool:
    """It prints nothing for so long."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    time.sleep(seconds)
    said = process.stdout.readline()
    os.set_blocking(process.stdout.fileno(), True)
    return not said


def test_the_sessions_of_a_node_that_is_silent_and_failed_end(world: World) -> None:
    dcs = world.dcs("critical")
    watcher = world.watcher()
    assert silent(dcs, 2), "gossip alone ends nothing"
    began = time.monotonic()
    world.cut()
    assert {world.line(dcs), world.line(dcs)} == {"destroyed s-1", "destroyed s-2"}
    assert time.monotonic() - began < 5
    assert world.line(watcher) == f"ended a session of {NODE}, which is silent and failed"


@pytest.mark.parametrize("status", ["passing", "leaderless"])
def test_silence_alone_ends_nothing(world: World, status: str) -> None:
    dcs = world.dcs(status)
    watcher = world.watcher()
    world.cut()
    assert silent(dcs, 4)
    if status == "leaderless":
        assert "does not say whether it failed: status 500" in world.line(watcher)
    assert silent(watcher, 1), "what prevents it is said once"


def test_a_watcher_that_was_suspended_ends_nothing(world: World) -> None:
    dcs = world.dcs("critical")
    watcher = world.watcher()
    watcher.send_signal(signal.SIGSTOP)
    time.sleep(10)
    watcher.send_signal(signal.SIGCONT)
    assert silent(dcs, 2)


def test_a_watcher_that_is_starved_ends_nothing(world: World) -> None:
    """For 10 s it gets 2 ms of each half second."""
    dcs = world.dcs("critical")
    watcher = world.watcher()
    for _ in range(20):
        watcher.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        watcher.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    assert silent(dcs, 2)


def test_a_node_that_stays_silent_is_asked_about_less_often() -> None:
    silence = SilentNodes()
    assert silence.due({"one"}, 100.0) == ["one"]
    assert silence.due({"one"}, 100.0 + ASK_S / 2) == []
    assert silence.due({"one", "two"}, 100.0 + ASK_S) == ["one", "two"]
    later = 100.0 + QUICK_S + 1
    assert silence.due({"one"}, later) == ["one"]
    assert silence.due({"one"}, later + AGAIN_S / 2) == []
    assert silence.due(set(), later + AGAIN_S / 2) == []
    assert silence.due({"one"}, later + AGAIN_S) == ["one"]
    assert silence.due({"one"}, later + AGAIN_S + ASK_S) == ["one"], "its silence is new"
