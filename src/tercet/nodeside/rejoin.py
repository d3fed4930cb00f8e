"""Brings back at once what comes back by itself only later (`tercet-rejoin.service`, control and apps nodes).

- Members of gossip pools that are called failed, although they are there again: nodeside/pools.py.
- Nomad's client, when its servers answer again.

A client that missed its heartbeats by more than 30 s tries again after up to 30 s only (Nomad 1.11, client.go,
getHeartbeatRetryIntv): after a site had been cut off for 40 s, it took another 63 s until its client was ready (seen).
An agent that starts registers at once, and its allocations survive the restart. So an overdue client whose servers
answer is restarted, once for each silence: if that does not help, another restart would not either.

Argument: a JSON file {"dcs": endpoint, "pools": [[kind, endpoint of the local agent], …], "tailnet": CIDR,
"client": endpoint of Nomad's client; null where there is none}.
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
OVERDUE_S = 5.0  # beyond the heartbeat's ttl; within it the client tries each second or two by itself
NEVER_S = 1e9  # an agent that has just started counts from the year 1
LOOKS = 2  # in a row, so that nothing follows from a moment in which the servers elect a leader
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
        self._api = Api(at)

    def overdue(self) -> bool:
        """Its servers have not had a heartbeat from it in time. False if the agent itself does not say."""
        try:
            found = self._ask("/v1/agent/self")["stats"]["client"]
            last = seconds(found["last_heartbeat"])
            return seconds(found["heartbeat_ttl"]) + OVERDUE_S < last < NEVER_S
        except (ApiError, ValueError, KeyError, TypeError):
            return False

    def servers_answer(self) -> bool:
        """One of them names a leader. The agent has no word of its own for that, so it must ask one."""
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
        self._looks = 0  # in a row, at a client that is overdue and whose servers answer
        self._tried = False

    def poll(self) -> bool:
        """One look; True if the client is to be restarted now."""
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
