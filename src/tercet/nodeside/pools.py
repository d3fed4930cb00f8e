"""Joins members that a gossip pool calls failed as soon as they are back (part of `tercet-rejoin.service`).

Serf tries a failed member only every 30 s, and picks it at random, with some probability. Neither Consul nor Nomad has
a setting for that. So after a cut of 40 s, Consul's federation was complete only about 52 s after the healing (seen). A
join exchanges the whole state over TCP, and a member that learns that it is called failed denies this at once.

`dcs` knows which members are back: every node is a member of it, and its gossip is fast. The answer must come from
another pool, because a frozen process still accepts connections. A join to it would wait for 10 to 30 s, and all other
joins of that agent would wait for this one (serf.go, joinLock). The guard joins members of `dcs` itself
(nodeside/guard.py).

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


def consul_failed(body: Any) -> dict[str, str]:
    """Address with port → name of the members that Consul calls failed."""
    return {f"{each['Addr']}:{each['Port']}": str(each["Name"]) for each in body if each["Status"] == FAILED}


def nomad_failed(body: Any) -> dict[str, str]:
    """The same for Nomad's servers."""
    members = body["Members"]
    return {f"{each['Addr']}:{each['Port']}": str(each["Name"]) for each in members if each["Status"] == "failed"}


@dataclass(frozen=True, slots=True)
class Kind:
    """How to query a pool and how to join a member."""

    members: str
    join: str  # with {} for the address
    failed: Callable[[Any], dict[str, str]]


KINDS = {
    "consul-lan": Kind("/v1/agent/members", "/v1/agent/join/{}", consul_failed),
    "consul-wan": Kind("/v1/agent/members?wan=1", "/v1/agent/join/{}?wan=1", consul_failed),
    "nomad": Kind("/v1/agent/members", "/v1/agent/join?address={}", nomad_failed),
}


class Pool:
    """One gossip pool, through the local agent that is a member of it."""

    def __init__(self, kind: str, agent: Endpoint) -> None:
        self._name, self._kind, self._agent = kind, KINDS[kind], Api(agent)
        self._due: dict[str, tuple[float, float]] = {}  # address of a failed member → next attempt, interval after it

    def poll(self, there: set[str]) -> None:
        """Join one failed member that is among the addresses `there`: the one that has been due for longest."""
        now = time.monotonic()
        try:
            found = self._kind.failed(self._agent.ask("GET", self._kind.members, timeout=ASK_S).json())
        except (ApiError, *MALFORMED):
            return  # an agent that does not answer cannot join anyone
        back = {address: name for address, name in found.items() if address.rpartition(":")[0] in there}
        self._due = {address: self._due.get(address, (now, AGAIN_S)) for address in back}
        due = [address for address, (when, _) in self._due.items() if when <= now]
        if not due:
            return
        address = min(due, key=lambda one: self._due[one][0])
        said = self._join(address)
        interval = self._due[address][1]
        if interval == AGAIN_S:  # logged once each time that a member comes back
            print(f"{self._name}: {back[address]} is joined again{said and f', without success: {said}'}", flush=True)
        self._due[address] = time.monotonic() + interval, min(2 * interval, RARELY_S)

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
        self._dcs, self._tailnet = Api(dcs), tailnet
        self._pools = [Pool(kind, Endpoint(**agent)) for kind, agent in pools]

    def poll(self) -> None:
        there = self.there()
        if there:
            for pool in self._pools:
                pool.poll(there)

    def there(self) -> set[str]:
        """Addresses of the nodes that are alive according to `dcs`; empty if its agent does not answer."""
        try:
            members = self._dcs.ask("GET", "/v1/agent/members", timeout=ASK_S).json()
            alive = {str(member["Addr"]) for member in members if member["Status"] == ALIVE}
        except (ApiError, *MALFORMED):
            return set()
        return set(self._tailnet.admitted(alive))
