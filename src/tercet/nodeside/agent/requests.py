"""Programs, HTTP requests and units' states, side by side. Each ends by its own deadline, whatever the other side does.

Written upon what Python's own os, socket, threading and subprocess modules are written upon: to import the last three
takes longer than a plan has for all that a node has to say, and `os` a sixth of what an empty look takes.
"""

from __future__ import annotations

import _socket
import _thread
import binascii
import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from collections.abc import Callable, Iterator
    from typing import Any

OUTPUT_LIMIT = 1 << 20  # bytes kept of an answer's text; the rest is read and dropped
SIGKILL, SIGPIPE, SEEK_SET = 9, 13, 0
running: set[int] = set()  # process groups that were started and have not ended


def answer(status: int, text: bytes = b"", error: str | bytes = "") -> dict[str, Any]:
    """An answer as it travels: what was printed as text, bytes that are no UTF-8 replaced."""
    if isinstance(error, bytes):
        error = error.decode(errors="replace")
    if len(text) > OUTPUT_LIMIT:
        error = f"the output was cut after {OUTPUT_LIMIT} bytes\n{error}"
    return {"status": status, "text": text[:OUTPUT_LIMIT].decode(errors="replace"), "error": error}


def ask(requests: list[dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
    """Start all requests at once. The function it returns waits for the answers, which come in that order."""
    answers = [answer(-1, error=f"no whole answer within {request['timeout']:g} s") for request in requests]
    locks = [_thread.allocate_lock() for _ in requests]  # each is held until its answer is there

    def one(place: int, request: dict[str, Any]) -> None:
        data = binascii.a2b_base64(request["data"])
        try:
            if "argv" in request:
                answers[place] = execute(request["argv"], data, request["timeout"])
            elif "active" in request:
                from tercet.nodeside.agent.systemd import states  # noqa: PLC0415 - it reads with `Incoming`

                answers[place] = states(request["active"], request["timeout"])
            else:
                answers[place] = http(request["method"], request["url"], data, request["timeout"], request["socket"])
        finally:
            locks[place].release()

    started = time.monotonic()
    for place, request in enumerate(requests):
        locks[place].acquire()
        _thread.start_new_thread(one, (place, request))

    def wait() -> list[dict[str, Any]]:
        for lock, request in zip(locks, requests, strict=True):
            grace = 2.0 if "argv" in request else 0.0  # to kill a program and collect what it printed
            lock.acquire(timeout=max(0.0, started + request["timeout"] + grace - time.monotonic()))
        return answers.copy()

    return wait


def execute(argv: list[str], stdin: bytes = b"", timeout: float = 5.0) -> dict[str, Any]:
    """Run a program until it leaves; at the deadline kill its process group.

    A child that it leaves in the background is not waited for, even if it holds on to the output.
    """
    fed = posix.memfd_create("stdin")  # a file, so that nobody waits for anybody to read
    out, err = posix.pipe(), posix.pipe()
    ends = [fed, out[1], err[1]]
    try:
        with open(posix.dup(fed), "wb") as source:
            source.write(stdin)
        posix.lseek(fed, 0, SEEK_SET)
        places = [(posix.POSIX_SPAWN_DUP2, end, place) for place, end in enumerate(ends)]
        try:
            pid = posix.posix_spawnp(
                argv[0], argv, posix.environ, file_actions=places, setsid=True, setsigdef=[SIGPIPE]
            )
        except OSError as error:
            return answer(-1, error=f"{argv[0]}: {error.strerror}")
        running.add(pid)
        while ends:
            posix.close(ends.pop())
        text, complaint, ended = collect(pid, out[0], err[0], timeout)
        if not ended:
            posix.killpg(pid, SIGKILL)
        running.discard(pid)
        status = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1]) if ended else -1
    finally:
        for end in (*ends, out[0], err[0]):
            posix.close(end)
    if not ended:
        return answer(-1, text, b"%s: still running after %g s, killed" % (argv[0].encode(), timeout))
    return answer(status if status >= 0 else 128 - status, text, complaint)


def collect(pid: int, out: int, err: int, timeout: float) -> tuple[bytes, bytes, bool]:
    """What a process prints until it ends or `timeout` seconds pass, and whether it ended."""
    deadline = time.monotonic() + timeout
    kept = {out: bytearray(), err: bytearray()}
    waiting = select.poll()
    process = posix.pidfd_open(pid)
    waiting.register(process, select.POLLIN)
    for fd in kept:
        posix.set_blocking(fd, False)
        waiting.register(fd, select.POLLIN)
    ended = False
    while not ended and (left := deadline - time.monotonic()) > 0:
        ready = {fd for fd, _ in waiting.poll(left * 1000)}
        ended = process in ready
        for fd in kept.keys() & ready if not ended else kept.keys():
            if drain(fd, kept[fd]) and not ended:
                waiting.unregister(fd)
    posix.close(process)
    return bytes(kept[out]), bytes(kept[err]), ended


def drain(fd: int, kept: bytearray) -> bool:
    """Take what a pipe holds now, and keep it up to the limit; True at its end."""
    for _ in range(16):  # a pipe holds 64 KiB; who fills it as fast as it is read must not keep us here
        try:
            piece = posix.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if not piece:
            return True
        kept += piece[: OUTPUT_LIMIT + 1 - len(kept)]
    return False


def http(method: str, url: str, body: bytes = b"", timeout: float = 2.0, path: str = "") -> dict[str, Any]:
    """One HTTP/1.1 request, over IPv4 or, with `path`, over that Unix socket."""
    scheme, _, rest = url.partition("://")
    place, _, resource = rest.partition("/")
    host, _, port = place.partition(":")
    head = f"{method} /{resource} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n"
    if body or method != "GET":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    connection = _socket.socket(_socket.AF_UNIX if path else _socket.AF_INET, _socket.SOCK_STREAM)
    try:
        if scheme != "http":
            raise ValueError("only http:// is spoken here")
        connection.settimeout(timeout)  # of each wait; `ask` keeps the deadline of the whole
        connection.connect(path or (host, int(port or 80)))
        connection.sendall(head.encode() + b"\r\n" + body)
        return answer(*read_reply(Incoming(connection)))
    except TimeoutError:
        return answer(-1, error=f"{url}: no whole answer within {timeout:g} s")
    except OSError as error:
        return answer(-1, error=f"{url}: {error.strerror}")
    except ValueError as error:
        return answer(-1, error=f"{url}: {error}")
    finally:
        connection.close()


class Incoming:
    """What a connection brings, by lines and by bytes; fewer, or an empty line, at its end."""

    def __init__(self, connection: _socket.socket) -> None:
        self._connection = connection
        self._held = b""

    def _more(self) -> bool:
        piece = self._connection.recv(1 << 16)
        self._held += piece
        return bool(piece)

    def line(self) -> bytes:
        while b"\n" not in self._held and len(self._held) < 1 << 16 and self._more():
            pass
        line, newline, self._held = self._held.partition(b"\n")
        return line + newline

    def bytes(self, count: int) -> bytes:
        pieces, missing = [], count
        while missing > 0:
            if not self._held and not self._more():
                break
            pieces.append(self._held[:missing])
            self._held = self._held[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)


def read_reply(reply: Incoming) -> tuple[int, bytes]:
    """Status and body of a reply; ValueError if it is none or ends too early."""
    first = reply.line().split()
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
        raise ValueError("the answer is no HTTP/1.1")
    headers = {}
    while line := reply.line().strip().lower():
        name, _, value = line.partition(b":")
        headers[name] = value.strip()
    if headers.get(b"transfer-encoding") == b"chunked":
        return int(first[1]), b"".join(chunks(reply))
    length = int(headers.get(b"content-length", OUTPUT_LIMIT + 1))
    body = reply.bytes(min(length, OUTPUT_LIMIT + 1))
    if b"content-length" in headers and len(body) < min(length, OUTPUT_LIMIT + 1):
        raise ValueError(f"the answer ended after {len(body)} of {length} bytes")
    return int(first[1]), body


def chunks(reply: Incoming) -> Iterator[bytes]:
    """The pieces of a chunked body, until the limit."""
    total = 0
    while total <= OUTPUT_LIMIT:
        length = int(reply.line().partition(b";")[0], 16)
        if length == 0:
            return
        piece = reply.bytes(min(length, OUTPUT_LIMIT + 1 - total))
        total += len(piece)
        yield piece
        if total <= OUTPUT_LIMIT and reply.line() != b"\r\n":
            raise ValueError("a chunk of the answer is broken")
