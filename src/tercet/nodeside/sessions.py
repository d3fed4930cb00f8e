"""Ends the sessions in `dcs` of a database node that is gone, so that its leader key becomes free (part of
`tercet-wake`).

Consul can end a session by itself when gossip calls its node failed (the check serfHealth). Patroni's sessions do not
use this, because gossip is too credulous: when a site returns from a cut of about two seconds, its agents still spread
the word that healthy nodes of other sites have failed. The `dcs` leader believes this for a tenth of a second, and the
session of a healthy primary ended (seen in two of eight runs of the drill `primary-site-flapping`: 20 s without
writes).

So a session is ended only if both hold:

- the `dcs` leader, asked now, says that gossip calls the node failed. Gossip asks several nodes before it does, so one
  bad link ends nothing. A node that is cut off reaches no `dcs` leader, and so ends nothing;
- the node does not answer this node's own pings either. They know earlier than gossip, so this costs only the
  questions, about 0.1 s.

Each database node watches the others. If this program is dead, suspended or starved on all of them, the sessions of a
dead node end with their TTL, 10 to 20 s later.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Mapping

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.pings import TICK_S, Pings

ASK_S = 0.1  # between two questions about a silent node
QUICK_S = 5.0  # a node that has been silent for longer is asked about every AGAIN_S
AGAIN_S = 1.0
DCS_S = 0.5  # for an answer of `dcs`. While it has no leader there is none


class SilentNodes:
    """Since when each node is silent, and when to ask about it next."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._next: dict[str, float] = {}

    def due(self, silent: set[str], now: float) -> list[str]:
        """The silent nodes to ask about now."""
        self._since = {node: self._since.get(node, now) for node in silent}
        due = [node for node in sorted(silent) if now >= self._next.get(node, now)]
        for node in due:
            self._next[node] = now + (ASK_S if now - self._since[node] < QUICK_S else AGAIN_S)
        return due


def watch_nodes(dcs: Endpoint, nodes: Iterable[str]) -> None:
    """Runs forever. Ends the sessions of those of `nodes` that are gone."""
    pings, silence, problems = Pings(), SilentNodes(), dict[str, str]()
    while True:
        addresses = addresses_of(nodes)
        pings.send(set(addresses.values()), time.monotonic())
        unheard = pings.silent()
        silent = {node for node, address in addresses.items() if address in unheard}
        for node in silence.due(silent, time.monotonic()):
            problem = end_sessions(dcs, node)
            if problem not in ("", problems.get(node)):  # logged once: `dcs` may have no leader for hours
                print(f"{node} is silent, and dcs does not say whether it failed: {problem}", flush=True)
            problems[node] = problem
        _receive(pings, ASK_S if silent else TICK_S)


def addresses_of(nodes: Iterable[str]) -> Mapping[str, str]:
    """The addresses in /etc/hosts; a node that is not there is left out."""
    found = {}
    for node in nodes:
        try:
            found[node] = socket.gethostbyname(node)
        except OSError:
            continue
    return found


def end_sessions(dcs: Endpoint, node: str) -> str:
    """End all sessions of the node if the `dcs` leader says that gossip calls it failed. Returns "", or what prevented
    it; the next call does it then.
    """
    try:
        # "consistent": the leader makes sure that it still is one, so a server that was cut off does not answer.
        checks = Api(dcs).ask("GET", f"/v1/health/node/{node}?consistent", timeout=DCS_S).json() or []
        if not any(check["CheckID"] == "serfHealth" and check["Status"] == "critical" for check in checks):
            return ""
        for session in Api(dcs).ask("GET", f"/v1/session/node/{node}", timeout=DCS_S).json() or []:
            Api(dcs).ask("PUT", f"/v1/session/destroy/{session['ID']}", timeout=DCS_S).json()
            print(f"ended a session of {node}, which is silent and failed", flush=True)
    except (ApiError, *MALFORMED) as error:
        return str(error)
    return ""


def _receive(pings: Pings, seconds: float) -> None:
    """Take answers until the time is over."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if select.select([pings.fileno()], [], [], left)[0]:
            pings.receive()
