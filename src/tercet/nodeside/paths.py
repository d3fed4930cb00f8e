"""Keeps the tailnet's direct paths in use on a line that loses packets (`tercet-paths.service`, every node).

tailscaled asks each peer for a sign of life every 3 s. A path on which no answer came for 6.5 s is doubted, and once a
question on it has been without an answer for 5 s, everything goes through a relay (Tailscale 1.98, magicsock,
trustUDPAddrDuration and discoPingTimeout). On a line that loses 15 % of its packets each way, more than one answer in
four is missing, so two in a row are ordinary; and a relay on the same line is one TCP connection for all peers, which
stands still for seconds (seen: 3 to 6 s without a reply from a peer that answered all the time).

So tailscaled is asked to ask more often, over its LocalAPI: every 3 s, and every 0.5 s from a missing answer on until
there is one. After 8 of these it is every second. Nothing else changes: a path counts as alive only while the peer
answers on it, so one that is really gone, be it in one direction alone, is given up as soon as before.

After a cut these questions find the direct path again. By itself tailscaled tries a path once in 5 s (its
discoPingInterval) and uses a relay meanwhile, which the cut took as well: two servers of `dcs` found each other 5 s
later than all others had done (seen). A ping that somebody asks for is sent at once, over every path that is known.

If this program is dead, suspended or refused, a bad line is what it was without it. Which address a peer has is in
/etc/hosts, the platform's one file with addresses.

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
from tercet.nodeside.tailnet import Tailnet

CALM_S = 3.0
AGAIN_S = 0.5  # also how long an answer is waited for: several round trips, and what a busy machine adds
TRIES = 8  # in a row; with CALM_S before them they go on until the path is doubted
SEEK_S = 1.0  # between two questions after that, until the peer answers
TICK_S = 1.0  # the longest wait: /etc/hosts may have changed, and systemd wants a sign of life
LONGEST = 1 << 16  # bytes of an answer, which has some 400


@dataclass
class Question:
    """One that is under way."""

    address: str
    asked: float
    connection: socket.socket
    answer: bytes = b""


@dataclass
class Peer:
    due: float  # when it is asked next
    misses: int = 0  # questions in a row without an answer on a direct path


@dataclass
class Keeper:
    """Asks each peer in its turn; all waits are on one poll."""

    path: str  # of tailscaled's socket
    problem: str = ""  # why it cannot be asked just now
    _peers: dict[str, Peer] = field(default_factory=dict)
    _under_way: dict[int, Question] = field(default_factory=dict)

    def know(self, addresses: set[str], now: float) -> None:
        """The peers' addresses of the moment. New ones are spread over CALM_S, so that not all are asked at once."""
        kept = {address: peer for address, peer in self._peers.items() if address in addresses}
        fresh = sorted(addresses - kept.keys())
        for place, address in enumerate(fresh):
            kept[address] = Peer(now + place * CALM_S / len(fresh))
        self._peers = kept

    def turn(self, longest: float = TICK_S) -> None:
        """Ask whoever is due, and take the answers that come until the next one is, `longest` seconds at most."""
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
        # What came while this program had no turn was heard above.
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
        try:
            part = question.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        question.answer += part
        if not part or len(question.answer) > LONGEST:
            self._end(question, answered=self._is_direct(question.answer))

    def _is_direct(self, answer: bytes) -> bool:
        """The peer answered, and not through a relay."""
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
        question.connection.close()  # tailscaled stops to wait
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
    """Seconds between two questions to a peer that has missed so many in a row."""
    if misses == 0:
        return CALM_S
    return AGAIN_S if misses < TRIES else SEEK_S


def addresses_in(hosts: str, names: set[str], tailnet: Tailnet) -> set[str]:
    """The addresses of these names in the text of /etc/hosts, as far as they are the tailnet's."""
    lines = (line.partition("#")[0].split() for line in hosts.splitlines())
    return tailnet.admitted(words[0] for words in lines if len(words) > 1 and names & set(words[1:]))


def main(config: dict[str, Any]) -> None:
    keeper, names, tailnet = Keeper(config["socket"]), set(config["peers"]), Tailnet(config["tailnet"])
    print("asking", flush=True)
    looked = float("-inf")
    while True:
        notify("READY=1\nWATCHDOG=1")
        now = time.monotonic()
        if now - looked >= CALM_S:
            looked = now
            try:
                with open(config["hosts"]) as file:
                    keeper.know(addresses_in(file.read(), names, tailnet), now)
            except OSError as error:
                print(f"{config['hosts']}: {error.strerror}", flush=True)
        keeper.turn()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
