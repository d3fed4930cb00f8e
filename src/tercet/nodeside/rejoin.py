"""Brings members and clients back at once that would return only later by themselves (`tercet-rejoin.service`, control
and apps nodes):

- members of gossip pools that are still called failed although they are back: nodeside/pools.py;
- Nomad's client, when its servers answer again.

A client that missed its heartbeats by more than 30 s waits up to 30 s before it tries again (Nomad 1.11, client.go,
getHeartbeatRetryIntv). After a site had been cut off for 40 s, it took another 63 s until its client was ready (seen).
An agent that starts registers at once, and its allocations survive the restart. So this program restarts an overdue
client whose servers answer, once for each outage: if one restart does not help, another would not help either.

Argument: a JSON file {"dcs": endpoint, "pools": [[kind, endpoint of the local agent], …], "tailnet": CIDR, "client":
endpoint of Nomad's client, or null if there is none}.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

from tercet.nodeside.api import Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.pools import Pools
from tercet.nodeside.tailnet import Tailnet

LOOK_S = 1.0
AGENT_S = 2.0
OVERDUE_S = 5.0  # seconds after the heartbeat's ttl; before that, the client tries every second or two by itself
NEVER_S = 1e9  # an agent that has just started reports the time since the year 1
LOOKS = 2  # polls in a row, so that a moment in which the servers elect a leader has no effect
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def seconds(duration: str) -> float:
    """A duration as Go prints it, such as 1m3.5s or 850ms. Raises ValueError."""
    parts = re.findall(r"([\d.]+)(h|ms|m|s|µs|ns)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"expected a duration, found {duration!r}")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


class Agent:
    """The node's own Nomad agent."""

    def __init__(self, at: Endpoint) -> None:
        self._api = Api(at, keep=True)

    def overdue(self) -> bool:
        """Whether its heartbeat is overdue at the servers. False if the agent itself does not answer."""
        try:
            found = self._ask("/v1/agent/self")["stats"]["client"]
            last = seconds(found["last_heartbeat"])
            return seconds(found["heartbeat_ttl"]) + OVERDUE_S < last < NEVER_S
        except (ApiError, ValueError, KeyError, TypeError):
            return False

    def servers_answer(self) -> bool:
        """Whether one of the servers names a leader. The agent cannot know this, so it must ask a server."""
        try:
            return bool(self._ask("/v1/status/leader"))
        except ApiError:
            return False

    def _ask(self, path: str) -> Any:
        return self._api.ask("GET", path, timeout=AGENT_S).json()


class Rejoin:
    """Decides when to restart the client."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._looks = 0  # polls in a row in which the client was overdue and its servers answered
        self._tried = False

    def poll(self) -> bool:
        """Count one poll. Returns True if the client must be restarted now."""
        if not self._agent.overdue():
            self._looks, self._tried = 0, False
            return False
        self._looks = self._looks + 1 if self._agent.servers_answer() else 0
        if self._looks < LOOKS or self._tried:
            return False
        self._tried = True
        return True


def main(config: dict[str, Any]) -> None:
    pools = Pools(Endpoint(**config["dcs"]), config["pools"], Tailnet(config["tailnet"]))
    client = Rejoin(Agent(Endpoint(**config["client"]))) if config["client"] else None
    print("watching", flush=True)
    while True:
        notify("READY=1\nWATCHDOG=1")
        pools.poll()
        if client and client.poll():
            print("the servers answer again: Nomad's client is restarted", flush=True)
            try:
                run(["systemctl", "--no-block", "restart", "nomad.service"])
            except ProgramError as error:
                print(error, flush=True)
        time.sleep(LOOK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
