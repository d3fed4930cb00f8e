"""The HTTP client of the programs that run on nodes, on top of Python's http.client. A call ends at its deadline.

A time limit of http.client is for each wait, so an API that sends its answer byte by byte could hold its caller for
ever. Here, the time limit is for the whole call: the connection, the request and the answer to its last byte. Data that
has arrived by then still counts, so a program that was suspended during a call gets the answer that came meanwhile.

Every failure raises ApiError. This module is delivered, with endpoint.py, together with the programs that import it
(components/guard/component.py), and sent along with the agent (converge/node.py).
"""

from __future__ import annotations

import http.client
import io
import json
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from tercet.nodeside.endpoint import Endpoint

BODY_LIMIT = 1 << 24  # bytes of an answer; the APIs of a node never send that much
JSON = {"Content-Type": "application/json"}
NO_TLS = "the API does not use TLS"
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # OpenSSL's words for an answer in HTTP, up to 3.1 and since
MALFORMED = (ValueError, TypeError, LookupError, AttributeError)  # raised by reading an answer of an unexpected shape


class ApiError(Exception):
    """There was no complete answer in time, or it makes no sense. The message says what was found."""


class SilentError(ApiError):
    """There was no complete answer in time."""


class Reply(NamedTuple):
    """An answer with any status."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    def text(self) -> str:
        """The body as text. Bytes that are not UTF-8 are replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The parsed body; None if the API has nothing of that name (404). Raises ApiError for any other status than
        200, and for a body that is not JSON.
        """
        if self.status == 404:
            return None
        if self.status != 200:
            raise ApiError(f"status {self.status}: {self.text().strip()[:200]}")
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ApiError(f"the answer is not JSON: {error}") from None


class Api:
    """An API. With `keep`, the connection stays open for the next call of the same thread: a new one costs 3 ms of a
    core with TLS. `headers` are sent with every call.
    """

    def __init__(self, at: Endpoint, *, headers: Mapping[str, str] | None = None, keep: bool = False) -> None:
        self._connection = _Connection(at)
        self._headers = {**({"Authorization": at.authorization} if at.authorization else {}), **(headers or {})}
        self._keep = keep

    def ask(self, method: str, path: str, body: bytes = b"", *, timeout: float, limit: int = BODY_LIMIT) -> Reply:
        """Make one call, which takes at most `timeout` seconds. At most `limit` bytes of the body are kept. Raises
        ApiError.
        """
        connection, keep = self._connection, False
        connection.begin(timeout)
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
            raise SilentError(f"no whole answer within {connection.patience:g} s") from None
        except ssl.SSLError as error:
            raise ApiError(NO_TLS if error.reason in _PLAIN else error.strerror or repr(error)) from None
        except OSError as error:
            raise ApiError(error.strerror or str(error) or repr(error)) from None
        except (http.client.HTTPException, ValueError) as error:
            raise ApiError(f"the answer is not HTTP/1.1: {error!r}") from None
        finally:
            if not keep:
                connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection whose every wait ends at `deadline` (time.monotonic)."""

    def __init__(self, at: Endpoint) -> None:
        super().__init__(at.host, at.port)
        self.patience = self.deadline = 0.0
        self._at = at

    def begin(self, patience: float) -> None:
        """Begin a call of at most that many seconds, on a new connection if the API has closed the kept one."""
        self.patience, self.deadline = patience, time.monotonic() + patience
        if isinstance(self.sock, _Socket) and self.sock.readable():
            self.close()

    @property
    def secured(self) -> bool:
        return self._at.scheme == "https"

    def left(self) -> float:
        """Seconds until the deadline; 0 after it: the socket then returns what it has and does not wait."""
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
        connection.settimeout(self.left())  # the time limit is for the whole handshake (ssl.SSLSocket.do_handshake)
        return context.wrap_socket(connection, server_hostname=self.host)


class _Socket:
    """The methods of a socket that http.client needs, and one for a connection that is kept."""

    def __init__(self, connection: socket.socket, call: _Connection) -> None:
        self._connection, self._call = connection, call

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(self._call.left())  # the time limit is for all data (socket.sendall)
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._connection, self._call))

    def readable(self) -> bool:
        """Whether there is something to read, which between two calls is the end of the connection."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._connection.close()


class _Incoming(io.RawIOBase):
    """The data that a connection receives."""

    def __init__(self, connection: socket.socket, call: _Connection) -> None:
        self._connection, self._call = connection, call
        self._file = connection.makefile("rb", buffering=0)
        self._least = 0.001 if call.secured else 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # TLS cannot return data that has already arrived without a wait, so it gets a moment after the deadline.
        self._connection.settimeout(max(self._call.left(), self._least))
        count = self._file.readinto(buffer)
        if count is None:
            raise TimeoutError
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
