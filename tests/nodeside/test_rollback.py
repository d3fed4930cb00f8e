"""A node that was restored from a copy of itself is behind what the others keep of it; nobody else is."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tercet.nodeside import rollback

from .delivery import loopback


class Agent(ThreadingHTTPServer):
    """A KV store with one key; `status` other than 200 is what it answers instead."""

    value: bytes | None = None
    status = 200

    @property
    def store(self) -> rollback.Store:
        return rollback.Store(loopback(self.server_address[1]), "count")


class Handler(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        value = self.server.value
        status = self.server.status if value is not None or self.server.status != 200 else 404
        body = json.dumps([{"Value": base64.b64encode(value or b"").decode()}]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.value = body
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def test_a_restored_node_is_noticed_once_and_the_mark_stays(agent: Agent, tmp_path: Path, mark: Path) -> None:
    count = tmp_path / "count"
    for _ in range(3):
        rollback.poll(agent.store, count, mark)
    copy = count.read_text()
    for _ in range(5):
        rollback.poll(agent.store, count, mark)
    assert agent.value == b"8" and not mark.exists()

    count.write_text(copy)  # as the snapshot had it
    rollback.poll(agent.store, count, mark)
    assert float(mark.read_text()) == 5 * rollback.EVERY_S
    mark.unlink()  # somebody has seen it
    rollback.poll(agent.store, count, mark)
    assert not mark.exists()


def test_a_new_node_and_one_whose_dcs_lost_its_data_are_not_accused(agent: Agent, tmp_path: Path, mark: Path) -> None:
    agent.value = b"400"
    count = tmp_path / "count"
    rollback.poll(agent.store, count, mark)
    assert count.read_text() == "401\n"
    agent.value = None
    rollback.poll(agent.store, count, mark)
    assert not mark.exists() and agent.value == b"402"


def test_a_dcs_that_does_not_answer_or_does_not_write_accuses_nobody(agent: Agent, tmp_path: Path, mark: Path) -> None:
    count = tmp_path / "count"
    rollback.poll(agent.store, count, mark)
    agent.status = 500
    rollback.poll(agent.store, count, mark)
    assert count.read_text() == "1\n"  # it counts only while it can compare
    agent.status = 200
    count.write_text("2\n")  # killed between its own count and the one in `dcs`
    rollback.poll(agent.store, count, mark)
    assert not mark.exists() and agent.value == b"3"
