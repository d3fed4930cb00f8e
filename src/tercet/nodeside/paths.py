"""Keeps the tailnet's direct paths in use on a link that loses packets (`tercet-paths.service`, every node).

tailscaled pings each peer every 3 s. It doubts a path that has had no answer for 6.5 s. If a ping on that path then
goes unanswered for 5 s, all traffic to that peer goes through a relay (Tailscale 1.98, magicsock, trustUDPAddrDuration
and discoPingTimeout). On a link that loses 15 % of its packets in each direction, more than one answer in four is
missing, so two in a row are normal. A relay on the same link is one TCP connection for all peers, which stalls for
seconds (seen: 3 to 6 s without a reply from a peer that answered all the time).

So this program makes tailscaled ping more often, over its LocalAPI: every 3 s, and every 0.5 s while an answer is
missing. After 8 of these, it pings every second. Nothing else changes. A path counts as alive only while the peer
answers on it, so tailscaled gives up a path that is really gone as soon as before, even if it is gone in only one
direction.

After a cut, these pings find the direct path again. By itself, tailscaled tries a path only once in 5 s
(discoPingInterval) and uses a relay in the meantime, which the cut affected as well: two servers of `dcs` found each
other 5 s later than all others (seen). tailscaled sends a requested ping at once, over every known path.

If this program is dead, suspended or refused, a bad link is as slow as without it. The addresses of the peers are in
/etc/hosts, the only file with addresses.

Argument: a JSON file {"socket": …, "hosts": …, "peers": [name, …], "tailnet": CIDR}.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tercet.nodeside.host import notify
from tercet.nodeside.tailnet import Tailnet, addresses_in

CALM_S = 3.0
AGAIN_S = 0.5  # seconds; also the time limit of an answer: several round trips, and the delay of a busy machine
TRIES = 8  # questions in a row; together with CALM_S, they last until tailscaled doubts the path
SEEK_S = 1.0  # seconds between two questions after that, until the peer answers
TICK_S = 1.0  # seconds, the longest wait: /etc/hosts may have changed, and systemd needs a sign of life
LONGEST = 1 << 16  # bytes; an answer has about 400


@dataclass
class Question:
    """A question that is under way."""

    address: str
    asked: float
    connection: socket.socket
    answer: bytes = b""


@dataclass
class Peer:
    due: float  # the time of the next question
    misses: int = 0  # questions in a row without an answer on a direct path


@dataclass
class DirectPaths:
    """Asks each peer when it is due. A single poll waits for all answers."""

    path: str  # the path of tailscaled's socket
    problem: str = ""  # why tailscaled cannot be asked at the moment
    _peers: dict[str, Peer] = field(default_factory=dict)
    _under_way: dict[int, Question] = field(default_factory=dict)

    def set_peers(self, addresses: set[str], now: float) -> None:
        """Set the peers' current addresses. The first questions to new ones are spread over CALM_S."""
        kept = {address: peer for address, peer in self._peers.items() if address in addresses}
        fresh = sorted(addresses - kept.keys())
        for place, address in enumerate(fresh):
            kept[address] = Peer(now + place * CALM_S / len(fresh))
        self._peers = kept

    def poll(self, longest: float = TICK_S) -> None:
        """Ask the peers that are due, and read answers until the next peer is due, for at most `longest` seconds."""
        now = time.monotonic()
        asked = {question.address for question in self._under_way.values()}
        for address, peer in self._peers.items():
            if peer.due <= now and address not in asked:
                self._ask(address, now)
        moments = [question.asked + AGAIN_S for question in self._under_way.values()]
        asked = {question.address for question in self._under_way.values()}
        moments += [peer.due for address, peer in self._peers.items() if address not in asked]
        wait = min([now + longest, *moments]) - now
        poller = select.poll()
        for descriptor in self._under_way:
            poller.register(descriptor, select.POLLIN)
        for descriptor, _ in poller.poll(max(1.0, wait * 1000)):
            self._hear(self._under_way[descriptor])
        # Answers that came while this program was paused were read above.
        late = time.monotonic() - AGAIN_S
        for question in list(self._under_way.values()):
            if question.asked <= late:
                self._end(question, answered=False)

    def _ask(self, address: str, now: float) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        request = (
            f"POST /localapi/v0/ping?ip={address}&type=disco HTTP/1.1\r\nHost: local-tailscaled.sock\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        question = Question(address, now, connection)
        try:
            connection.connect(self.path)
            connection.send(request.encode())
        except OSError as error:
            self._say(f"tailscaled cannot be asked: {error.strerror}")
            self._end(question, answered=False)
            return
        self._under_way[connection.fileno()] = question

    def _hear(self, question: Question) -> None:
        """Read all that is there, also the end: after a pause there is no other turn to read it."""
        part = b"more"
        while part and len(question.answer) <= LONGEST:
            try:
                part = question.connection.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                part = b""
            question.answer += part
        self._end(question, answered=self._is_direct(question.answer))

    def _is_direct(self, answer: bytes) -> bool:
        """Whether the peer answered, and not through a relay."""
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode(errors="replace")
        try:
            result = json.loads(body)
            found = bool(result["Endpoint"])
        except (ValueError, KeyError, TypeError):
            self._say(f"tailscaled does not understand the question: {status or 'it hung up'}")
            return False
        self._say("")
        return found

    def _end(self, question: Question, *, answered: bool) -> None:
        self._under_way.pop(question.connection.fileno(), None)
        question.connection.close()  # tailscaled then stops waiting
        peer = self._peers.get(question.address)
        if peer is None:
            return
        peer.misses = 0 if answered else peer.misses + 1
        peer.due = question.asked + interval(peer.misses)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            print(problem or "tailscaled answers", flush=True)


def interval(misses: int) -> float:
    """Seconds until the next question to a peer that has not answered `missed` questions in a row."""
    if misses == 0:
        return CALM_S
    return AGAIN_S if misses < TRIES else SEEK_S


def main(config: dict[str, Any]) -> None:
    paths, names, tailnet = DirectPaths(config["socket"]), set(config["peers"]), Tailnet(config["tailnet"])
    print("asking", flush=True)
    looked = float("-inf")
    while True:
        notify("READY=1\nWATCHDOG=1")
        now = time.monotonic()
        if now - looked >= CALM_S:
            looked = now
            try:
                with open(config["hosts"]) as file:
                    paths.set_peers(addresses_in(file.read(), names, tailnet), now)
            except OSError as error:
                print(f"{config['hosts']}: {error.strerror}", flush=True)
        paths.poll()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
