"""The agent's question to systemd, against a socket that answers with what a systemd (257, Debian 13) did answer."""

from __future__ import annotations

import socket
import tempfile
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tercet.nodeside.agent import requests, systemd

NAMES = ["tailnet-ready.service", "nope.service"]
OK = b"OK cd372b19761d4da49b34b37908226300\r\n"
CALL = b64decode(
    "bAEAATEAAAABAAAAgAAAAAEBbwAZAAAAL29yZy9mcmVlZGVza3RvcC9zeXN0ZW1kMQAAAAAAAAACAXMAIAAAAG9yZy5mcmVlZGVza3RvcC5zeXN0"
    "ZW1kMS5NYW5hZ2VyAAAAAAAAAAADAXMAEAAAAExpc3RVbml0c0J5TmFtZXMAAAAAAAAAAAgBZwACYXMALQAAABUAAAB0YWlsbmV0LXJlYWR5LnNl"
    "cnZpY2UAAAAMAAAAbm9wZS5zZXJ2aWNlAA=="
)
ANSWER = b64decode(
    "bAIBAWoBAAABAAAAQwAAAAUBdQABAAAABwFzABgAAABvcmcuZnJlZWRlc2t0b3Auc3lzdGVtZDEAAAAAAAAAAAgBZwANYShzc3Nzc3NvdXNvKQAA"
    "AAAAAGIBAAAAAAAAFQAAAHRhaWxuZXQtcmVhZHkuc2VydmljZQAAABoAAABUaGUgdGFpbG5ldCBhZGRyZXNzIGV4aXN0cwAABgAAAGxvYWRlZAAA"
    "BgAAAGFjdGl2ZQAABgAAAGV4aXRlZAAAAAAAAAAAAAA4AAAAL29yZy9mcmVlZGVza3RvcC9zeXN0ZW1kMS91bml0L3RhaWxuZXRfMmRyZWFkeV8y"
    "ZXNlcnZpY2UAAAAAAAAAAAAAAAAAAAAAAQAAAC8AAAAAAAAADAAAAG5vcGUuc2VydmljZQAAAAAMAAAAbm9wZS5zZXJ2aWNlAAAAAAkAAABub3Qt"
    "Zm91bmQAAAAIAAAAaW5hY3RpdmUAAAAABAAAAGRlYWQAAAAAAAAAAAAAAAAtAAAAL29yZy9mcmVlZGVza3RvcC9zeXN0ZW1kMS91bml0L25vcGVf"
    "MmVzZXJ2aWNlAAAAAAAAAAAAAAAAAAAAAAEAAAAvAA=="
)
SIGNAL = b64decode(
    "bAQBAUYAAAACAAAAmAAAAAEBbwAZAAAAL29yZy9mcmVlZGVza3RvcC9zeXN0ZW1kMQAAAAAAAAACAXMAIAAAAG9yZy5mcmVlZGVza3RvcC5zeXN0"
    "ZW1kMS5NYW5hZ2VyAAAAAAAAAAADAXMABwAAAFVuaXROZXcABwFzABgAAABvcmcuZnJlZWRlc2t0b3Auc3lzdGVtZDEAAAAAAAAAAAgBZwACc28A"
    "DAAAAG5vcGUuc2VydmljZQAAAAAtAAAAL29yZy9mcmVlZGVza3RvcC9zeXN0ZW1kMS91bml0L25vcGVfMmVzZXJ2aWNlAA=="
)
ERROR = b"l\3\1\1" + bytes((9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)) + b"\4\0\0\0oops\0"

PATIENCE_S = 60.0
DRIP_S = 0.01
Says = Callable[[bytes, list[bytes]], list[bytes]]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Iterator[Says]:
    """Sets what systemd says first and then to the call; gives the list of what it was sent. It says it in two pieces,
    then nothing more."""
    sockets, threads, over = [], [], threading.Event()
    with tempfile.TemporaryDirectory() as folder:  # its path is shorter than pytest's; a socket's has 108 bytes
        path = Path(folder, "private")
        monkeypatch.setattr(systemd, "SOCKET", str(path))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()

        def said(welcome: bytes, answers: list[bytes]) -> list[bytes]:
            heard: list[bytes] = []

            def serve() -> None:
                connection, _ = listener.accept()
                sockets.append(connection)
                connection.settimeout(30)
                heard.append(connection.recv(1000))
                connection.sendall(welcome)
                heard.append(connection.recv(1000))
                for answer in answers:
                    connection.sendall(answer[:9])
                    over.wait(DRIP_S)
                    connection.sendall(answer[9:])
                if not answers:
                    connection.close()
                over.wait(30)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return heard

        yield said
        over.set()
        for thread in threads:
            thread.join(60)
        for each in (listener, *sockets):
            each.close()


def test_one_call_tells_of_all(says: Says) -> None:
    heard = says(OK, [ANSWER])
    assert states() == (0, "tailnet-ready.service active\nnope.service inactive\n", "")
    assert heard == [b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n", CALL]


def returned(body: bytes) -> bytes:
    return b"l\2\0\1" + b"".join(number.to_bytes(4, "little") for number in (len(body), 1, 0)) + body


def test_a_unit_that_is_not_active_comes_with_the_status_of_its_program(says: Says) -> None:
    unit = ("a.service", "A", "loaded", "activating", "start", "", "/org/a", "start", "/")
    array = b""
    for place, text in enumerate(unit):
        number = b"\0\0\0\0" if place == 7 else b""  # the one number among the texts
        array = systemd.padded(array, 4) + number + systemd.text(text)
    status = systemd.text("no nft\ntoday")
    heard = says(OK, [returned(systemd.padded(systemd.number(len(array)), 8) + array), returned(b"\1s\0\0" + status)])
    said = systemd.states(["a.service"], PATIENCE_S)
    assert (said["status"], said["text"]) == (0, "a.service activating no nft today\n")
    assert b"a.service" in heard[1]


def test_signals_that_come_first_are_no_answer(says: Says) -> None:
    says(OK, [SIGNAL, SIGNAL, ANSWER])
    assert states()[0] == 0


@pytest.mark.parametrize(
    ("welcome", "answers", "reason"),
    [
        (b"REJECTED\r\n", [], "it says REJECTED"),
        (OK, [ERROR], "it says oops"),
        (OK, [], "it closed the connection in the middle of its answer"),
        (OK, [SIGNAL], "no whole answer within 0.3 s"),
        (OK, [ANSWER[:100]], "no whole answer within 0.3 s"),
    ],
)
def test_what_goes_wrong_is_the_answer(says: Says, welcome: bytes, answers: list[bytes], reason: str) -> None:
    says(welcome, answers)
    assert states(0.3 if "0.3" in reason else PATIENCE_S) == (-1, "", f"systemd: {reason}")


def test_no_systemd_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "SOCKET", "/nowhere")
    assert states()[2] == "systemd: [Errno 2] No such file or directory"


def test_one_that_drips_for_ever_costs_its_own_answer_only(says: Says) -> None:
    says(OK, [SIGNAL] * 400)
    drips, echo = {"active": NAMES}, {"argv": ["echo", "x"]}
    common = {"data": "", "timeout": 0.5}
    slow, quick = requests.ask([{**drips, **common}, {**echo, **common, "timeout": PATIENCE_S}])()
    assert (slow["status"], slow["error"]) == (-1, "no whole answer within 0.5 s") and quick["text"] == "x\n"


def states(timeout: float = PATIENCE_S) -> tuple[int, str, str]:
    said = systemd.states(NAMES, timeout)
    return said["status"], said["text"], said["error"]
