"""The HTTP client of the programs that run on nodes, upon Python's own http.client: a call is over at its deadline.

A time limit of http.client is one of each wait, so an API that sends a byte now and then holds its caller for ever.
Here it is one of the whole call: the connection, the request and the answer to its last byte. What has arrived by then
still counts, so a program that was suspended in the middle of a call learns what it was told meanwhile.

Everything that can go wrong is an ApiError. Delivered, with endpoint.py, beside the programs that import it
(components/guard/component.py), and sent along with the agent (converge/node.py).
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from tercet.nodeside.endpoint import Endpoint

BODY_LIMIT = 1 << 24  # bytes of an answer: no API of a node has as much to say
JSON = {"Content-Type": "application/json"}


class ApiError(Exception):
    """There was no whole answer in time, or one that makes no sense. The message says what was found."""


class SilentError(ApiError):
    """There was no whole answer in time."""


class Reply(NamedTuple):
    """An answer, whatever its status."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    def text(self) -> str:
        """The body; bytes that are no UTF-8 are replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body parsed; None where the API has nothing of that name (404). Raises ApiError for any other status
        but 200, and for a body that is no JSON."""
        if self.status == 404:
            return None
        if self.status != 200:
            raise ApiError(f"status {self.status}: {self.text().strip()[:200]}")
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ApiError(f"the answer is no JSON: {error}") from None


class Api:
    """An API. With `keep`, the connection stays for the next call. `headers` go with every call."""

    def __init__(self, at: Endpoint, *, headers: Mapping[str, str] | None = None, keep: bool = False) -> None:
        self._connection = _Connection(at)
        self._headers = {**({"Authorization": at.authorization} if at.authorization else {}), **(headers or {})}
        self._keep = keep

    def ask(self, method: str, path: str, body: bytes = b"", *, timeout: float, limit: int = BODY_LIMIT) -> Reply:
        """One call, over within `timeout` seconds. No more than `limit` bytes of the body are kept. Raises ApiError."""
        connection = self._connection
        connection.deadline = time.monotonic() + timeout
        keep = False
        try:
            connection.request(method, path, body or None, self._headers)
            with connection.getresponse() as answer:
                read = answer.read(limit + 1)
                if answer.length and len(read) <= limit:
                    whole = len(read) + answer.length
                    raise ApiError(f"the answer ended after {len(read)} of {whole} bytes")
                keep = self._keep and len(read) <= limit
            return Reply(answer.status, read[:limit], answer.headers)
        except (TimeoutError, BlockingIOError):
            raise SilentError(f"no whole answer within {timeout:g} s") from None
        except OSError as error:
            raise ApiError(error.strerror or str(error) or repr(error)) from None
        except (http.client.HTTPException, ValueError) as error:
            raise ApiError(f"the answer is no HTTP/1.1: {error!r}") from None
        finally:
            if not keep:
                connection.close()


class _Connection(http.client.HTTPConnection):
    """One whose every wait ends at `deadline`, by time.monotonic."""

    def __init__(self, at: Endpoint) -> None:
        super().__init__(at.host, at.port)
        self.deadline = 0.0
        self._at = at

    @property
    def secured(self) -> bool:
        return self._at.scheme == "https"

    def left(self) -> float:
        """Seconds; 0 once it is over, which is a socket that gives what it has and does not wait."""
        return max(0.0, self.deadline - time.monotonic())

    def connect(self) -> None:
        connection = self._connected()
        try:
            self.sock = _Socket(self._secured(connection) if self.secured else connection, self)
        except BaseException:
            connection.close()
            raise

    def _connected(self) -> socket.socket:
        if not self._at.socket:
            connection = socket.create_connection((self.host, self.port), timeout=self.left())
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self.left())
            connection.connect(self._at.socket)
        except OSError:
            connection.close()
            raise
        return connection

    def _secured(self, connection: socket.socket) -> socket.socket:
        context = ssl.create_default_context(cafile=self._at.ca or None)
        if self._at.certificate:
            context.load_cert_chain(self._at.certificate)
        connection.settimeout(self.left())  # of the whole handshake (ssl.SSLSocket.do_handshake)
        return context.wrap_socket(connection, server_hostname=self.host)


class _Socket:
    """What http.client needs of a socket."""

    def __init__(self, connection: socket.socket, call: _Connection) -> None:
        self._connection, self._call = connection, call

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(self._call.left())  # of all of it (socket.sendall)
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._connection, self._call))

    def close(self) -> None:
        self._connection.close()


class _Incoming(io.RawIOBase):
    """What a connection brings."""

    def __init__(self, connection: socket.socket, call: _Connection) -> None:
        self._connection, self._call = connection, call
        self._file = connection.makefile("rb", buffering=0)
        self._least = 0.001 if call.secured else 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # TLS does not say what is there already without a wait, so it gets a moment past the deadline.
        self._connection.settimeout(max(self._call.left(), self._least))
        count = self._file.readinto(buffer)
        if count is None:
            raise TimeoutError
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
