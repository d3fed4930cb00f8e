"""Who is silent, by ICMP echo: a failure detector that is faster than gossip and depends on no other node.

Each address is pinged every 0.2 s. An address that did not answer four pings in a row is silent. Pings are counted
instead of seconds, because while the program is suspended or gets no CPU, it sends none.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

TICK_S = 0.2
UNANSWERED = 4  # pings in a row, 0.8 s; a round trip to Falkenstein takes 0.03
# On a line that loses 15 % of its packets each way, one ping in four goes unanswered, and four in a row twice a minute:
# seen as a silent primary whose sessions all were aborted. Of three copies all are lost one time in fifty.
COPIES = 3
ECHO_REQUEST, ECHO_REPLY = 8, 0


class Pings:
    """Who answers ICMP echo. An address that is new counts as answering until its pings went unanswered."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._identity = os.getpid() & 0xFFFF
        self._unanswered: dict[str, int] = {}
        self._sent = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, addresses: set[str], now: float) -> None:
        """Ask all of them if it is time to; forget everybody else."""
        self.receive()  # what came while this process had no turn
        self._unanswered = {address: self._unanswered.get(address, 0) for address in addresses}
        if now - self._sent < TICK_S:
            return
        self._sent = now
        packet = echo_request(self._identity)
        for address in addresses:
            self._unanswered[address] += 1
            with contextlib.suppress(OSError):  # no route is no answer either
                for _ in range(COPIES):
                    self._socket.sendto(packet, (address, 0))

    def receive(self) -> None:
        """Take the answers that have come in."""
        while True:
            try:
                packet, (address, _) = self._socket.recvfrom(512)
            except OSError:
                return
            header = (packet[0] & 15) * 4
            if len(packet) < header + 8:
                continue
            kind, _, _, identity = struct.unpack_from("!BBHH", packet, header)
            if kind == ECHO_REPLY and identity == self._identity and address in self._unanswered:
                self._unanswered[address] = 0

    def silent(self) -> set[str]:
        """Those whose last pings have gone unanswered; the one just sent does not count."""
        return {address for address, count in self._unanswered.items() if count > UNANSWERED}


def echo_request(identity: int) -> bytes:
    """One ICMP packet without data."""
    words = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identity, 0)
    total = sum(struct.unpack("!4H", words))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, ~total & 0xFFFF, identity, 0)
