"""The daemons' HTTP client: a call ends at its deadline, and every trouble is an ApiError.

A machine may be slow: what must work has PATIENCE_S.
"""

from __future__ import annotations

import datetime
import ipaddress
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tercet.nodeside.api import JSON, NO_TLS, Api, ApiError, SilentError
from tercet.nodeside.endpoint import Endpoint

from .delivery import loopback

PATIENCE_S = 60.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

Behave = Callable[[socket.socket], None]
Serve = Callable[[Behave], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves connections one after another, each in the way `behave` has; gives the port."""
    listening: list[socket.socket] = []
    connected: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(behave: Behave) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listening.append(listener)
        threads.append(threading.Thread(target=accept, args=(listener, behave, connected)))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listening:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for connection in connected:
        with suppress(OSError):  # it was closed
            connection.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(PATIENCE_S)


def accept(listener: socket.socket, behave: Behave, connected: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connected.append(connection)
        with connection:
            try:
                behave(connection)
            except OSError:
                continue


def saying(reply: bytes) -> Behave:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(reply)

    return behave


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b"."),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
    ],
)
def test_the_deadline_is_one_of_the_whole_call(serve: Serve, first: bytes, drip: bytes) -> None:
    """A time limit of each wait would never be over: every piece comes well within it."""
    given_up = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.sendall(first)
        while not given_up.wait(0.02):
            connection.sendall(drip)

    began = time.monotonic()
    with pytest.raises(ApiError, match=r"no whole answer within 0.5 s"):
        Api(loopback(serve(behave))).ask("GET", "/", timeout=0.5)
    assert time.monotonic() - began < PATIENCE_S / 2
    given_up.set()


def test_what_came_while_the_program_was_suspended_counts(serve: Serve) -> None:
    asked, answer = threading.Event(), threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        asked.set()
        answer.wait(PATIENCE_S)
        connection.sendall(OK)

    at = tuple(loopback(serve(behave)))
    code = f"""
from tercet.nodeside.api import Api
from tercet.nodeside.endpoint import Endpoint
print(Api(Endpoint(*{at})).ask('GET', '/', timeout=2))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert asked.wait(PATIENCE_S)
        program.send_signal(signal.SIGSTOP)
        answer.set()
        time.sleep(3)  # longer than the call may take
        program.send_signal(signal.SIGCONT)
        assert program.communicate(timeout=PATIENCE_S)[0].startswith("Reply(status=200, body=b'{}'")


def test_a_kept_connection_is_used_again_and_replaced_once_it_is_lost(serve: Serve) -> None:
    served: list[socket.socket] = []

    def twice(connection: socket.socket) -> None:
        served.append(connection)
        for _ in range(2):
            connection.recv(65536)
            connection.sendall(OK)

    api = Api(loopback(serve(twice)), keep=True)
    for _ in range(3):
        for method in ("GET", "PUT"):
            assert api.ask(method, "/", timeout=PATIENCE_S).json() == {}
        deadline = time.monotonic() + PATIENCE_S
        while served[-1].fileno() != -1:  # it is not closed yet
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(served) == 3


def test_a_call_whose_answer_is_lost_is_made_once(serve: Serve) -> None:
    """The API may have carried it out."""
    said: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            said.append(request.split()[0])
            if said[-1] == b"PUT":
                return
            connection.sendall(OK)

    api = Api(loopback(serve(behave)), keep=True)
    api.ask("GET", "/", timeout=PATIENCE_S)
    with pytest.raises(ApiError):
        api.ask("PUT", "/", timeout=PATIENCE_S)
    assert api.ask("GET", "/", timeout=PATIENCE_S).json() == {}
    assert said == [b"GET", b"PUT", b"GET"]


def test_a_kept_connection_that_falls_silent_is_not_tried_again(serve: Serve) -> None:
    said: list[bytes] = []

    def once(connection: socket.socket) -> None:
        said.append(connection.recv(65536))
        connection.sendall(OK)
        said.append(connection.recv(65536))
        connection.recv(65536)

    api = Api(loopback(serve(once)), keep=True)
    api.ask("GET", "/", timeout=PATIENCE_S)
    with pytest.raises(SilentError):
        api.ask("GET", "/", timeout=0.5)
    assert len(said) == 2


def test_without_keep_each_call_has_its_own(serve: Serve) -> None:
    connections = 0

    def behave(connection: socket.socket) -> None:
        nonlocal connections
        connections += 1
        while connection.recv(65536):
            connection.sendall(OK)

    api = Api(loopback(serve(behave)))
    for _ in range(3):
        assert api.ask("GET", "/", timeout=PATIENCE_S).status == 200
    assert connections == 3


def test_headers_and_body_are_sent(serve: Serve) -> None:
    seen = b""

    def behave(connection: socket.socket) -> None:
        nonlocal seen
        while not seen.endswith(b"{}"):
            seen += connection.recv(65536)
        connection.sendall(OK)

    api = Api(loopback(serve(behave)), headers={"Authorization": "Basic x", **JSON})
    assert api.ask("PATCH", "/config", b"{}", timeout=PATIENCE_S).status == 200
    first, *headers = seen.partition(b"\r\n\r\n")[0].decode().splitlines()
    assert first == "PATCH /config HTTP/1.1"
    assert {"Authorization: Basic x", "Content-Type: application/json", "Content-Length: 2"} <= set(headers)


def test_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory() as folder:  # its path is shorter than pytest's; a socket's has 108 bytes
        path = Path(folder, "api")
        with socket.socket(socket.AF_UNIX) as listener:
            with pytest.raises(ApiError, match="No such file"):
                Api(Endpoint("local", 80, socket=str(path))).ask("GET", "/", timeout=PATIENCE_S)
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=accept, args=(listener, saying(OK), []))
            thread.start()
            assert Api(Endpoint("local", 80, socket=str(path))).ask("GET", "/", timeout=PATIENCE_S).json() == {}
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)


def test_nobody_who_listens(serve: Serve) -> None:
    with socket.socket() as nobody:  # bound, so that the port is no other's, and not listening
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(ApiError, match="Connection refused"):
            Api(loopback(nobody.getsockname()[1])).ask("GET", "/", timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"", "without response"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "after 4 of 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello", "not HTTP"),
    ],
)
def test_half_an_answer_is_none(serve: Serve, reply: bytes, problem: str) -> None:
    with pytest.raises(ApiError, match=problem):
        Api(loopback(serve(saying(reply)))).ask("GET", "/", timeout=PATIENCE_S)


def test_a_body_without_end_is_cut(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    reply = Api(loopback(serve(behave)), keep=True).ask("GET", "/", timeout=PATIENCE_S, limit=100_000)
    assert len(reply.body) == 100_000


def test_json_is_that_of_a_200_and_nothing_of_a_404(serve: Serve) -> None:
    def told(status: str, body: bytes) -> object:
        reply = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        return Api(loopback(serve(saying(reply)))).ask("GET", "/", timeout=PATIENCE_S).json()

    assert told("200 OK", b'[{"Value": 1}]') == [{"Value": 1}]
    assert told("404 Not Found", b"no such key") is None
    with pytest.raises(ApiError, match="status 500: No cluster leader"):
        told("500 Internal Server Error", b"No cluster leader\n")
    for body in (b"", b"{", b"\xff"):
        with pytest.raises(ApiError, match="not JSON"):
            told("200 OK", body)


def certificate(path: Path) -> str:
    """A certificate for 127.0.0.1 that is its own authority, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + secret)
    return str(path)


class Secured:
    """Serves over TLS, to callers whose certificate it knows."""

    def __init__(self, folder: Path) -> None:
        self.own, self.caller = certificate(folder / "server.pem"), certificate(folder / "caller.pem")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.own)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(self.caller)

    def speaking(self, behave: Behave) -> Behave:
        def spoken(connection: socket.socket) -> None:
            with self._context.wrap_socket(connection, server_side=True) as wrapped:
                behave(wrapped)

        return spoken


def test_over_tls_both_sides_prove_who_they_are(serve: Serve, tmp_path: Path) -> None:
    secured = Secured(tmp_path)
    seen = bytearray()

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            seen.extend(connection.recv(65536))
            connection.sendall(OK)

    at = loopback(serve(secured.speaking(behave)))._replace(
        scheme="https", ca=secured.own, certificate=secured.caller, authorization="Bearer x"
    )
    api = Api(at, keep=True)
    for _ in range(2):
        assert api.ask("GET", "/", timeout=PATIENCE_S).json() == {}
    assert seen.count(b"Authorization: Bearer x\r\n") == 2
    assert "Bearer" not in repr(at)
    other = at._replace(port=serve(secured.speaking(behave)))  # one serves a connection at a time
    with pytest.raises(ApiError, match="certificate verify failed"):
        Api(other._replace(ca=secured.caller)).ask("GET", "/", timeout=PATIENCE_S)
    with pytest.raises(ApiError):
        Api(other._replace(certificate="")).ask("GET", "/", timeout=PATIENCE_S)


def test_an_api_without_tls_is_named_as_such(serve: Serve) -> None:
    at = loopback(serve(saying(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")))
    with pytest.raises(ApiError, match=NO_TLS):
        Api(at._replace(scheme="https")).ask("GET", "/", timeout=PATIENCE_S)


@pytest.mark.parametrize("speaks", [True, False])
def test_the_deadline_is_one_of_the_whole_call_over_tls_too(serve: Serve, tmp_path: Path, speaks: bool) -> None:
    """A server that never ends the handshake, and one that never ends its answer."""
    given_up, secured = threading.Event(), Secured(tmp_path)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not given_up.wait(0.02):
            connection.sendall(b"y")

    def say_nothing(_: socket.socket) -> None:
        given_up.wait(PATIENCE_S)

    at = loopback(serve(secured.speaking(drip) if speaks else say_nothing))
    began = time.monotonic()
    with pytest.raises(SilentError, match=r"no whole answer within 0.5 s"):
        Api(at._replace(scheme="https", ca=secured.own, certificate=secured.caller)).ask("GET", "/", timeout=0.5)
    assert time.monotonic() - began < PATIENCE_S / 2
    given_up.set()
