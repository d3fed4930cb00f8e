"""A program that does not answer is ended, and no other one."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.nodeside.endpoint import Endpoint

from .delivery import Systemd, deliver, loopback, replace_program

HELLO = bytes.fromhex("0000000804d2162f")


class Server:
    """Something on a port: takes connections, and answers each at once as long as `answer` is not empty."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        self.listener.settimeout(30)

    def serve(self, answer: bytes) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(30)
            assert connection.recv(100) == HELLO
            if answer:
                connection.sendall(answer)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.systemd = folder, Server(), Systemd(folder)
        (folder / "bin").mkdir()
        replace_program(folder / "bin", "systemctl", f"echo $@ >> {folder}/calls")
        self._processes: list[subprocess.Popen[str]] = []

    def watch(self, looks: int = 3, api: Endpoint | None = None) -> subprocess.Popen[str]:
        config = {
            "unit": "some-proxy.service",
            **({"api": api._asdict()} if api else {"port": self.server.port, "hello": HELLO.hex()}),
            "looks": looks,
            "pause_s": 0.5,
            "whom": "all",
        }
        command = deliver(self.folder, "hungwatch", config)
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "NOTIFY_SOCKET": self.systemd.address}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self._processes.append(process)
        return process

    def killed(self) -> str:
        calls = self.folder / "calls"
        return calls.read_text() if calls.exists() else ""

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self.systemd.close()
        self.server.listener.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_one_that_answers_nobody_is_killed(world: World) -> None:
    process = world.watch()
    world.server.serve(b"N")
    world.systemd.until("READY=1")
    assert process.stdout is not None
    started = time.monotonic()
    assert process.stdout.readline() == "some-proxy.service does not answer: killed\n"
    assert 3 < time.monotonic() - started < 15
    deadline = time.monotonic() + 30
    while not world.killed():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert world.killed() == "kill --kill-whom=all --signal=KILL some-proxy.service\n"


def test_one_that_answers_refuses_or_closes_is_left_alone(world: World) -> None:
    process = world.watch()
    for answer in (b"N", b"", b"S"):
        world.server.serve(answer)
    world.server.listener.close()  # refused from now on
    time.sleep(8)
    assert process.poll() is None
    assert world.killed() == ""


def test_an_api_is_asked_on_one_connection_and_ended_once_it_is_silent(world: World) -> None:
    process = world.watch(api=loopback(world.server.port))
    connection, _ = world.server.listener.accept()
    with connection:
        for _ in range(2):
            assert connection.recv(1000).startswith(b"GET / ")
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        assert process.poll() is None and world.killed() == ""
        assert process.stdout is not None
        assert process.stdout.readline() == "some-proxy.service does not answer: killed\n"


def test_a_look_during_which_the_watch_itself_was_suspended_kills_nobody(world: World) -> None:
    """The machine was frozen, or starved: the silence says nothing about the other program."""
    process = world.watch(looks=1)
    world.server.listener.accept()[0].close()
    world.systemd.until("READY=1")
    connection, _ = world.server.listener.accept()
    with connection:
        assert connection.recv(100) == HELLO
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)  # longer than a look may take with all its patience
        process.send_signal(signal.SIGCONT)
        world.server.serve(b"N")  # the next look: the one before is over
    assert process.poll() is None
    assert world.killed() == ""
