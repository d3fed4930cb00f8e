"""Has tailscaled look for the way to a silent peer each second (part of the dead-peer guard).

By itself it tries a way once in 5 s (magicsock's discoPingInterval) and uses a relay meanwhile, which a cut took as
well: two servers of `dcs` found each other 5 s after the healing, when all others had done so within one (seen). A ping
that somebody asks for is sent at once, over every way that is known.

Only that it is asked for matters: nobody waits for the answer, and the connection is closed a second later.
"""

from __future__ import annotations

import contextlib
import socket

SEEK_S = 1.0
AFTER_S = 6.0  # so long a peer that answers again is still looked for: the way back may be another one


class Paths:
    """What is asked of tailscaled over its socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: list[socket.socket] = []
        self._until: dict[str, float] = {}  # address → when it need not be looked for any more
        self._asked = float("-inf")

    def seek(self, silent: set[str], now: float) -> None:
        """Ask for a ping of each silent address, and of those that were silent just now, if it is time to."""
        self._until |= dict.fromkeys(silent, now + AFTER_S)
        if now - self._asked < SEEK_S:
            return
        self._asked = now
        self._until = {address: until for address, until in self._until.items() if until > now}
        while self._open:
            self._open.pop().close()
        for address in self._until:
            self._ask(address)

    def _ask(self, address: str) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)  # a tailscaled that hangs costs nothing
        with contextlib.suppress(OSError):
            connection.connect(self._path)
            connection.send(
                f"POST /localapi/v0/ping?ip={address}&type=disco HTTP/1.1\r\n"
                "Host: local-tailscaled.sock\r\nContent-Length: 0\r\n\r\n".encode()
            )
        self._open.append(connection)
