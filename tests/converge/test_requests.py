"""The agent's programs and HTTP requests: each ends in time, whatever the other side does.

A machine may be slow: what must work has PATIENCE_S, and what hangs would do so for LONG_S.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tercet.nodeside.agent.requests import OUTPUT_LIMIT, ask, execute, http
from tercet.nodeside.endpoint import Endpoint

PATIENCE_S, LONG_S = 60.0, 600.0


def run(argv: list[str], stdin: bytes = b"") -> dict[str, Any]:
    return execute(argv, stdin, PATIENCE_S)


def at(url: str) -> Endpoint:
    place = urlsplit(url)
    assert place.hostname and place.port
    return Endpoint(place.hostname, place.port)


def get(url: str) -> dict[str, Any]:
    return http(at(url), "GET", "/", timeout=PATIENCE_S)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    ends = time.monotonic() + PATIENCE_S
    while alive(pid) and time.monotonic() < ends:
        time.sleep(0.01)
    return not alive(pid)


# --- programs ---------------------------------------------------------------------------------------------------


def test_a_program_gets_its_input_and_gives_output_error_and_status() -> None:
    said = run(["sh", "-c", "cat; echo oh >&2; exit 3"], b"in")
    assert said == {"status": 3, "text": "in", "error": "oh\n"}


def test_a_large_input_that_nobody_reads_does_no_harm() -> None:
    assert run(["true"], b"x" * 5_000_000)["status"] == 0


def test_a_missing_program_is_an_answer() -> None:
    assert run(["/no/such/program"]) == {
        "status": -1,
        "text": "",
        "error": "/no/such/program: No such file or directory",
    }


def test_a_program_killed_by_a_signal_has_the_status_a_shell_gives() -> None:
    assert run(["sh", "-c", "kill -9 $$"])["status"] == 128 + signal.SIGKILL


def test_what_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    nap = f"sleep {LONG_S}"
    script = f"sh -c 'echo $$ >> {pids}; {nap} & echo $! >> {pids}; wait' & echo $$ >> {pids}; echo begun; wait"
    for timeout in (0.5, 5.0, PATIENCE_S):  # longer where that was not enough to start all three
        pids.write_text("")
        said = execute(["sh", "-c", script], timeout=timeout)
        processes = [int(pid) for pid in pids.read_text().split()]
        if len(processes) == 3:
            break
    assert (said["status"], said["text"]) == (-1, "begun\n")
    assert said["error"] == f"sh: still running after {timeout:g} s, killed"
    assert len(processes) == 3
    assert all(gone(pid) for pid in processes)


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for() -> None:
    said = run(["sh", "-c", f"sleep {LONG_S} & echo $!"])
    pid = int(said["text"])
    assert said["status"] == 0, "it was waited for until the deadline"
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_output_without_end_is_cut_and_does_not_outlast_the_deadline() -> None:
    started = time.monotonic()
    said = execute(["yes"], timeout=2.0)
    assert time.monotonic() - started < PATIENCE_S
    assert said["status"] == -1
    assert len(said["text"]) == OUTPUT_LIMIT


def test_too_much_output_is_cut_and_says_so() -> None:
    said = run(["head", "-c", str(3 * OUTPUT_LIMIT), "/dev/zero"])
    assert said["status"] == 0
    assert len(said["text"]) == OUTPUT_LIMIT
    assert said["error"].startswith("the output was cut")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(["printf", r"a\377\376\000b"])["text"] == "a\ufffd\ufffd\0b"


def test_requests_run_side_by_side_and_answers_keep_their_order(tmp_path: Path) -> None:
    """Each waits for all others."""
    script = f'echo >> {tmp_path}/here; until [ $(wc -l < {tmp_path}/here) = 8 ]; do sleep 0.05; done; echo "$0"'
    wanted = [{"argv": ["sh", "-c", script, str(n)], "data": "", "timeout": PATIENCE_S} for n in range(8)]
    assert [said["text"] for said in ask(wanted)()] == [f"{n}\n" for n in range(8)]


# --- HTTP -------------------------------------------------------------------------------------------------------


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers connections one after another, each in the way `behave` has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        behave(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)


def saying(*pieces: bytes, keep_open: float = 0.0) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
        if keep_open:
            connection.settimeout(keep_open)
            connection.recv(1)

    return behave


def test_a_body_of_known_length_is_read_without_waiting_for_the_end_of_the_connection() -> None:
    with server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", keep_open=LONG_S)) as url:
        assert get(url) == {"status": 200, "text": "hi", "error": ""}


def test_a_chunked_body_is_joined_wherever_the_pieces_are_cut() -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
    with server(saying(*(bytes([byte]) for byte in reply), keep_open=LONG_S)) as url:
        assert get(url)["text"] == "hello, world"


def test_a_body_that_ends_with_the_connection() -> None:
    with server(saying(b"HTTP/1.0 503 Sorry\r\nX: y\r\n\r\nnot ", b"now")) as url:
        assert get(url) == {"status": 503, "text": "not now", "error": ""}


def test_the_request_as_it_is_sent() -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(b"")
        while not seen[0].endswith(b"{}"):
            seen[0] += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")

    with server(behave) as url:
        assert http(at(url), "PUT", "/v1/kv/a?b=c", b"{}", PATIENCE_S)["status"] == 204
        place = url.removeprefix("http://")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    first, *headers = head.decode().splitlines()
    assert (first, body) == ("PUT /v1/kv/a?b=c HTTP/1.1", b"{}")
    assert {f"Host: {place}", "Content-Type: application/json", "Content-Length: 2"} <= set(headers)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "the answer ended after 4 of 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "IncompleteRead"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"", "without response"),
        (b"\x00\xff\xfe" * 100, "not HTTP"),
    ],
)
def test_half_an_answer_is_none(reply: bytes, problem: str) -> None:
    with server(saying(reply)) as url:
        said = get(url)
        assert said["status"] == -1
        assert problem in said["error"]


def test_a_refused_connection_is_an_answer() -> None:
    with socket.socket() as nobody:  # bound, so that the port is no other's, and not listening
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        assert get(url) == {"status": -1, "text": "", "error": f"{url}: Connection refused"}


def test_a_huge_body_is_cut() -> None:
    with server(saying(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 65536] * 40)) as url:
        said = get(url)
        assert len(said["text"]) == OUTPUT_LIMIT
        assert said["error"].startswith("the output was cut")


def test_silence_and_dripping_end_at_the_deadline() -> None:
    over, answered = threading.Event(), threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        answered.set()
        while not over.wait(0.1):
            connection.sendall(b".")

    with server(saying(keep_open=LONG_S)) as silent, server(drip) as dripping:
        started = time.monotonic()
        wanted: list[dict[str, Any]] = [
            {"method": "GET", "endpoint": at(url)._asdict(), "path": "/", "data": "", "timeout": 0.5}
            for url in (silent, dripping)
        ]
        answers = ask(wanted)()
        assert time.monotonic() - started < PATIENCE_S
        assert answered.wait(PATIENCE_S)
        over.set()
        assert [said["status"] for said in answers] == [-1, -1]
        assert all("no whole answer within 0.5 s" in said["error"] for said in answers)
