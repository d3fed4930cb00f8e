"""tailscaled is asked to look for silent peers once a second, and nobody waits for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.nodeside.paths import AFTER_S, Paths

A, B = "100.64.0.1", "100.64.0.2"


@pytest.fixture
def tailscaled(tmp_path: Path) -> Iterator[socket.socket]:
    """Accepts, and says nothing, as tailscaled does until the ping is answered."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(16)
        listener.settimeout(0.2)
        yield listener


def asked(listener: socket.socket) -> tuple[list[str], list[socket.socket]]:
    """The addresses that are asked for, and the connections."""
    found, connections = [], []
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return sorted(found), connections
        line = connection.recv(512).decode().partition("\r\n")[0]
        assert line.startswith("POST /localapi/v0/ping?ip=") and line.endswith("&type=disco HTTP/1.1")
        found.append(line.partition("ip=")[2].partition("&")[0])
        connections.append(connection)


def test_silent_peers_are_looked_for_once_a_second_and_some_seconds_after(tailscaled: socket.socket) -> None:
    paths = Paths(tailscaled.getsockname())
    paths.seek({A, B}, 100.0)
    found, connections = asked(tailscaled)
    assert found == [A, B]
    paths.seek({A, B}, 100.5)
    assert asked(tailscaled)[0] == []
    paths.seek({A}, 101.0)
    assert asked(tailscaled)[0] == [A, B]
    assert [connection.recv(1) for connection in connections] == [b"", b""], "the first questions were hung up on"
    paths.seek({A}, 100.5 + AFTER_S + 0.1)  # B is well since the look before
    assert asked(tailscaled)[0] == [A]
    paths.seek(set(), 100.5 + 2 * AFTER_S + 0.2)
    assert asked(tailscaled)[0] == []


def test_a_tailscaled_that_hangs_or_is_gone_costs_no_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        paths = Paths(str(tmp_path / "s"))
        began = time.monotonic()
        for second in range(50):
            paths.seek({A, B}, float(second))
        (tmp_path / "s").unlink()
        paths.seek({A, B}, 50.0)
        assert time.monotonic() - began < 5
