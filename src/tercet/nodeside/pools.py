"""Joins members that a gossip pool calls failed as soon as they are back (part of `tercet-rejoin.service`).

Serf tries a failed member only every 30 s, and picks it at random, with some probability. Neither Consul nor Nomad has
a setting for that. So after a cut of 40 s, Consul's federation was complete only about 52 s after the healing (seen). A
join exchanges the whole state over TCP, and a member that learns that it is called failed denies this at once.

`dcs` knows which members are back, and where: every node is a member of it, and its gossip is fast. The answer must
come from another pool, because a frozen process still accepts connections. A join to it would wait for 10 to 30 s, and
all other joins of that agent would wait for this one (serf.go, joinLock). The guard joins members of `dcs` itself
(nodeside/guard.py).

A node may be back with another address. Nomad's servers accept it for a failed member only after a minute or two, and a
server that has just started is content when it has joined itself (seen: for good).

This program decides nothing. A needless join costs a few kilobytes. If this program is dead or gets no answer, gossip
finds the members by itself, only later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.tailnet import Tailnet

ASK_S = 1.0  # an answer from memory
JOIN_S = 3.0
AGAIN_S, RARELY_S = 2.0, 30.0  # between two attempts to join a member: the first interval, the limit of its doubling
ALIVE, FAILED = 1, 4  # serf's member status, as Consul reports it


def consul_failed(body: Any) -> dict[str, int]:
    """Name → port of the members that Consul calls failed."""
    return {str(each["Name"]): int(each["Port"]) for each in body if each["Status"] == FAILED}


def nomad_failed(body: Any) -> dict[str, int]:
    """The same for Nomad's servers."""
    return {str(each["Name"]): int(each["Port"]) for each in body["Members"] if each["Status"] == "failed"}


@dataclass(frozen=True, slots=True)
class Kind:
    """How to query a pool and how to join a member."""

    members: str
    join: str  # with {} for the address
    failed: Callable[[Any], dict[str, int]]


KINDS = {
    "consul-lan": Kind("/v1/agent/members", "/v1/agent/join/{}", consul_failed),
    "consul-wan": Kind("/v1/agent/members?wan=1", "/v1/agent/join/{}?wan=1", consul_failed),
    "nomad": Kind("/v1/agent/members", "/v1/agent/join?address={}", nomad_failed),
}


class Pool:
    """One gossip pool, through the local agent that is a member of it."""

    def __init__(self, kind: str, agent: Endpoint) -> None:
        self._name, self._kind, self._agent = kind, KINDS[kind], Api(agent, keep=True)
        self._due: dict[str, tuple[float, float]] = {}  # name of a failed member → next attempt, interval after it

    def poll(self, there: dict[str, str]) -> None:
        """Join one failed member whose node is in `there`, name → address: the one that has been due for longest."""
        now = time.monotonic()
        try:
            found = self._kind.failed(self._agent.ask("GET", self._kind.members, timeout=ASK_S).json())
        except (ApiError, *MALFORMED):
            return  # an agent that does not answer cannot join anyone
        # In a federation, the name of a member is that of its node with that of its datacenter or region.
        nodes = {name: name.partition(".")[0] for name in found}
        back = {name: f"{there[nodes[name]]}:{port}" for name, port in found.items() if nodes[name] in there}
        self._due = {name: self._due.get(name, (now, AGAIN_S)) for name in back}
        due = [name for name, (when, _) in self._due.items() if when <= now]
        if not due:
            return
        name = min(due, key=lambda one: self._due[one][0])
        said = self._join(back[name])
        interval = self._due[name][1]
        if interval == AGAIN_S:  # logged once each time that a member comes back
            print(f"{self._name}: {name} is joined again{said and f', without success: {said}'}", flush=True)
        self._due[name] = time.monotonic() + interval, min(2 * interval, RARELY_S)

    def _join(self, address: str) -> str:
        """Empty, or why the join failed."""
        try:
            answer = self._agent.ask("PUT", self._kind.join.format(address), timeout=JOIN_S)
        except ApiError as error:
            return str(error)
        return "" if answer.status == 200 else f"status {answer.status}: {answer.text().strip()[:200]}"


class Pools:
    """All pools of a node."""

    def __init__(self, dcs: Endpoint, pools: list[list[Any]], tailnet: Tailnet) -> None:
        """`pools` are pairs of a kind and the fields of the local agent's endpoint."""
        self._dcs, self._tailnet = Api(dcs, keep=True), tailnet
        self._pools = [Pool(kind, Endpoint(**agent)) for kind, agent in pools]

    def poll(self) -> None:
        there = self.there()
        if there:
            for pool in self._pools:
                pool.poll(there)

    def there(self) -> dict[str, str]:
        """The nodes that are alive according to `dcs`, with their addresses; empty if its agent does not answer."""
        try:
            members = self._dcs.ask("GET", "/v1/agent/members", timeout=ASK_S).json()
            alive = {str(member["Name"]): str(member["Addr"]) for member in members if member["Status"] == ALIVE}
        except (ApiError, *MALFORMED):
            return {}
        admitted = set(self._tailnet.admitted(alive.values()))
        return {name: address for name, address in alive.items() if address in admitted}
