"""tailscaled is asked to ask each peer, more often where answers are missing, and is never waited for."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tercet.nodeside import paths
from tercet.nodeside.paths import AGAIN_S, CALM_S, SEEK_S, TRIES, DirectPaths, addresses_in
from tercet.nodeside.tailnet import Tailnet
from tests.nodeside.delivery import Systemd, deliver

NEAR, FAR = "100.64.0.1", "100.64.0.2"
CALM = 0.55  # seconds that are surely no less than the time between two calm questions
SEEK = 0.18  # the same for two questions after a peer that has been silent for long
DIRECT = {"Err": "", "LatencySeconds": 0.001, "Endpoint": "10.77.1.11:41641", "DERPRegionID": 0}
RELAYED = {"Err": "", "LatencySeconds": 0.05, "Endpoint": "", "DERPRegionID": 999}


class Tailscaled:
    """The LocalAPI's ping as Tailscale 1.98 has it: it answers when the peer has, else it waits until the asker leaves.

    `asked` has the moment of each question by address, `left` how many askers left without an answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.asked: dict[str, list[float]] = {}
        self.left = 0
        self.delay = 0.0  # seconds until an answer is given
        self.answer: Callable[[str], bytes | None] = lambda _address: result(DIRECT)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            line = connection.recv(4096).decode().splitlines()[0]
            method, target, _ = line.split()
            query = parse_qs(urlsplit(target).query)
            assert (method, urlsplit(target).path, query["type"]) == ("POST", "/localapi/v0/ping", ["disco"])
            (address,) = query["ip"]
            self.asked.setdefault(address, []).append(time.monotonic())
            time.sleep(self.delay)
            said = self.answer(address)
            if said is None:
                select.select([connection], [], [], 10)
                self.left += 1
                return
            connection.sendall(said)

    def close(self) -> None:
        self._server.close()
        Path(self.path).unlink(missing_ok=True)


def result(values: dict[str, object]) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(values).encode()


@pytest.fixture
def tailscaled(tmp_path: Path) -> Iterator[Tailscaled]:
    daemon = Tailscaled(tmp_path / "sock")
    yield daemon
    daemon.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times as fast: 0.6 s between two questions, 0.1 s where an answer is missing, 0.2 s where many are."""
    monkeypatch.setattr(paths, "CALM_S", CALM_S / 5)
    monkeypatch.setattr(paths, "AGAIN_S", AGAIN_S / 5)
    monkeypatch.setattr(paths, "SEEK_S", SEEK_S / 5)


def keep(direct: DirectPaths, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        direct.poll(min(left, 0.05))


def gaps(moments: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(moments)]


def test_a_peer_that_answers_is_asked_in_its_turn_alone(tailscaled: Tailscaled) -> None:
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR, FAR}, time.monotonic())
    keep(direct, 2.8)
    for moments in (tailscaled.asked[NEAR], tailscaled.asked[FAR]):
        assert 3 <= len(moments) <= 5
        assert all(gap >= CALM for gap in gaps(moments))
    assert tailscaled.left == 0 and not direct.problem


def test_a_missing_answer_is_asked_for_again_at_once_and_until_there_is_one(tailscaled: Tailscaled) -> None:
    lost = iter([True, True, True, False])
    tailscaled.answer = lambda _: None if next(lost, False) else result(DIRECT)
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR}, time.monotonic())
    keep(direct, 1.8)
    waited = gaps(tailscaled.asked[NEAR])
    assert tailscaled.left == 3  # each question that was given up was also let go
    assert all(0.08 <= gap < CALM for gap in waited[:3])
    assert waited[3:] and all(gap >= CALM for gap in waited[3:])


@pytest.mark.parametrize("answer", [None, result(RELAYED), result({"Err": "no matching peer"})])
def test_a_peer_without_a_direct_path_is_asked_less_often_after_some_tries(
    tailscaled: Tailscaled, answer: bytes | None
) -> None:
    tailscaled.answer = lambda _: answer
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({FAR}, time.monotonic())
    keep(direct, TRIES * 0.1 + 2.0)
    moments = tailscaled.asked[FAR]
    assert TRIES + 4 <= len(moments) <= TRIES + 11
    assert all(gap >= SEEK for gap in gaps(moments)[TRIES:])


def test_one_silent_peer_does_not_keep_the_others_waiting(tailscaled: Tailscaled) -> None:
    tailscaled.answer = lambda address: None if address == FAR else result(DIRECT)
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR, FAR}, time.monotonic())
    keep(direct, 2.8)
    assert len(tailscaled.asked[NEAR]) >= 4


def test_answers_that_came_while_this_program_was_suspended_count(tailscaled: Tailscaled) -> None:
    direct = DirectPaths(tailscaled.path)
    tailscaled.delay = 0.1
    direct.set_peers({NEAR}, time.monotonic())
    direct.poll(0.001)
    time.sleep(0.4)
    keep(direct, 0.1)
    assert len(tailscaled.asked[NEAR]) == 1


def test_a_tailscaled_that_is_gone_is_said_once_and_found_again(
    tailscaled: Tailscaled, capsys: pytest.CaptureFixture[str]
) -> None:
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR}, time.monotonic())
    tailscaled.close()
    keep(direct, 0.5)
    again = Tailscaled(Path(tailscaled.path))
    keep(direct, 1.0)
    again.close()
    assert again.asked[NEAR]
    assert capsys.readouterr().out.splitlines() == [
        "tailscaled cannot be asked: No such file or directory",
        "tailscaled answers",
    ]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 404 Not Found\r\n\r\nnope", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"x" * 100_000]
)
def test_nonsense_is_no_answer(tailscaled: Tailscaled, answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    tailscaled.answer = lambda _: answer
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR}, time.monotonic())
    keep(direct, 1.0)
    assert len(tailscaled.asked[NEAR]) >= 3
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("tailscaled does not understand the question: ")


def test_a_peer_that_left_is_not_asked_any_more_and_a_new_one_is(tailscaled: Tailscaled) -> None:
    direct = DirectPaths(tailscaled.path)
    direct.set_peers({NEAR}, time.monotonic())
    keep(direct, 0.2)
    direct.set_peers({FAR}, time.monotonic())
    before = len(tailscaled.asked[NEAR])
    keep(direct, 1.0)
    assert len(tailscaled.asked[NEAR]) == before
    assert tailscaled.asked[FAR]


def test_only_the_tailnets_own_addresses_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = "# comment\n127.0.0.1 localhost\n100.64.0.1 db-sib-01\n8.8.8.8 db-sib-03 # far\n\n100.64.0.3 other\n"
    assert addresses_in(hosts, {"db-sib-01", "db-sib-03"}, Tailnet("100.64.0.0/10")) == {"100.64.0.1"}
    assert "refused '8.8.8.8'" in capsys.readouterr().out


def test_it_runs_as_delivered_under_a_clock_that_is_stepped(tailscaled: Tailscaled, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{NEAR} db-sib-01\n")
    config = {"socket": tailscaled.path, "hosts": str(hosts), "peers": ["db-sib-01"], "tailnet": "100.64.0.0/10"}
    systemd = Systemd(tmp_path)
    command = deliver(tmp_path / "node", "paths", config, stepped=True)
    with subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": systemd.address}) as daemon:
        try:
            systemd.until("READY=1")
            for address in (NEAR, FAR):  # it gets another one
                hosts.write_text(f"{address} db-sib-01\n")
                ends = time.monotonic() + 30
                while address not in tailscaled.asked and time.monotonic() < ends:
                    time.sleep(0.05)
            assert {NEAR, FAR} == set(tailscaled.asked)
        finally:
            daemon.kill()
            systemd.close()
