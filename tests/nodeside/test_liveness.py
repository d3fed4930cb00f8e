"""What exists and says nothing is ended after its time; what is down, or answers anything, is left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tercet.nodeside import liveness


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(liveness.time, "monotonic", lambda: now[0])
    return now


def test_it_is_ended_once_the_answer_has_been_missing_for_the_limit(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    answers, ended = [True], []
    watch = liveness.Watch("patroni", 6.0, lambda: answers[0], lambda: ended.append(clock[0]))
    watch.look()
    answers[0] = False
    for _ in range(20):
        clock[0] += 1
        watch.look()
    assert ended == [106.0, 112.0, 118.0], "its successor gets the full time"
    assert "patroni has not answered for 6.0 s: killed" in capsys.readouterr().out


def test_one_answer_is_enough(clock: list[float]) -> None:
    ended: list[float] = []
    count = [0]

    def ask() -> bool:
        count[0] += 1
        return count[0] % 5 == 0

    watch = liveness.Watch("postmaster", 5.0, ask, lambda: ended.append(clock[0]))
    for _ in range(30):
        clock[0] += 1
        watch.look()
    assert ended == []


def answering(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(256)
        connection.sendall(answer)


def test_a_patroni_is_silent_only_if_it_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not liveness.patroni_answers("127.0.0.1", port, 0.2)
        listener.accept()[0].close()
        answer = threading.Thread(target=answering, args=(listener, b"HTTP/1.0 503 Service Unavailable\r\n\r\n"))
        answer.start()
        assert liveness.patroni_answers("127.0.0.1", port, 60)
        answer.join()
    assert liveness.patroni_answers("127.0.0.1", port, 0.2), "refused: that is systemd's affair"


def test_a_postmaster_is_silent_only_if_it_accepts_and_says_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert liveness.postmaster_answers(path, 0.2), "no socket: it is down, not frozen"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert not liveness.postmaster_answers(path, 0.2)
        listener.accept()[0].close()
        answer = threading.Thread(target=answering, args=(listener, b"N"))
        answer.start()
        assert liveness.postmaster_answers(path, 60)
        answer.join()
    assert liveness.postmaster_answers(path, 0.2)


def test_the_postmaster_of_the_pid_file_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pid_file = tmp_path / "postmaster.pid"
    with subprocess.Popen(["sleep", "600"]) as postmaster:
        pid_file.write_text(f"{postmaster.pid}\n/data\n")
        os.kill(postmaster.pid, signal.SIGSTOP)
        liveness.kill_postmaster(str(pid_file))
        assert postmaster.wait(timeout=60) == -signal.SIGKILL
    pid_file.unlink()
    liveness.kill_postmaster(str(pid_file))
    assert "postmaster: " in capsys.readouterr().out


def test_a_shutdown_that_waits_for_its_sessions_is_hurried_and_nobody_else_is_signalled(
    clock: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, pid_file = tmp_path / "postgres", tmp_path / "postmaster.pid"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    watch = liveness.Shutdown(str(pid_file))

    def say(pid: int, state: str) -> None:
        pid_file.write_text(
            f"{pid}\n/data\n1795712865\n5432\n/run/postgresql\ndb-sib-03\n   131074         0\n{state}\n"
        )

    with subprocess.Popen([program, "900"]) as postmaster, subprocess.Popen(["sleep", "900"]) as other:
        try:
            for pid, state in ((postmaster.pid, "ready   "), (other.pid, "stopping"), (-1, "stopping")):
                say(pid, state)
                for _ in range(5):
                    clock[0] += 1
                    watch.look()
            assert postmaster.poll() is None and other.poll() is None
            say(postmaster.pid, "stopping")
            watch.look()
            clock[0] += 1
            watch.look()
            assert postmaster.poll() is None, "an ordered shutdown has its time"
            clock[0] += 1
            watch.look()
            assert postmaster.wait(60) == -signal.SIGINT
            assert "postmaster shuts down for 2.0 s: told to end its sessions" in capsys.readouterr().out
        finally:
            postmaster.kill()
            other.kill()
    pid_file.unlink()
    watch.look()
