"""Switches on TCP keepalives for the connections of a program that does not do so itself.

Without them, a connection that only one side knows stays forever if this side waits for an answer: nothing is sent, so
the other side has no occasion to answer with a reset. The kernel's settings say when the keepalives are sent
(components/tcp.py).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from collections.abc import Collection
from typing import NamedTuple

_PIDFD_GETFD = 438  # Linux 5.6; the number is the same on all architectures
_ENDED = (errno.ESRCH, errno.EBADF, errno.ENOTSOCK)  # the process or the connection; its number may be another file's
_libc = ctypes.CDLL(None, use_errno=True)

_LINE = re.compile(r"\d+ +\d+ +\S+:(?P<port>\d+) +(?P<peer>\S+):\d+ .*?pid=(?P<process>\d+),fd=(?P<descriptor>\d+)")


class Connection(NamedTuple):
    """An established connection of this node: local port, address of the peer, process and its descriptor."""

    port: str
    peer: str
    process: int
    descriptor: int


def connections(listing: str) -> list[Connection]:
    """Those in the listing of `ss -tnpH` for one state that belong to a process. Only root sees the processes."""
    found = (match.groupdict() for line in listing.splitlines() if (match := _LINE.match(line)))
    return [Connection(each["port"], each["peer"], int(each["process"]), int(each["descriptor"])) for each in found]


def probe(connection: Connection) -> None:
    """Have the kernel send keepalives on the connection. Raises OSError."""
    process = os.pidfd_open(connection.process)
    try:
        descriptor = _libc.syscall(_PIDFD_GETFD, process, connection.descriptor, 0)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with socket.socket(fileno=descriptor) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    finally:
        os.close(process)


class Probed:
    """The connections whose keepalives are on."""

    def __init__(self) -> None:
        self._done = set[Connection]()
        self._problem = ""

    def look(self, found: Collection[Connection]) -> None:
        """Switch them on for each connection that is new since the last call. Log once why that fails."""
        self._done.intersection_update(found)
        for each in set(found) - self._done:
            try:
                probe(each)
                self._done.add(each)
            except OSError as error:
                if error.errno not in _ENDED and str(error) != self._problem:
                    self._problem = str(error)
                    print(f"no keepalives on the proxy's connections: {error}", flush=True)
