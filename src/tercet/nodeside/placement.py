"""Keeps the Raft leader of `dcs` away from the primary's site (`tercet-placement.service` on control nodes).

A new Consul leader restarts the TTL of every session. If leader and primary are at the same site, the loss of that site
costs an election *and*, if gossip is late, a whole TTL. If they are at different sites, it costs neither. So the leader
checks every 2 s where the primary is. If the primary was at the leader's own site five times in a row, the leader hands
over to a server at another site. It does not do so sooner, because an election stops every question to `dcs` for half a
second, and a new primary asks many until its first commit is confirmed (seen: 1.4 s more without writes after a
switchover). Only the leader acts, and hands over only to a server that is alive according to gossip. The count starts
again after an answer that is late, missing or makes no sense, and after a pause of this program, because the primary
may have moved in the meantime.

Argument: a JSON file {"dcs": endpoint, "node": …, "sites": {node: site}, "leader_key": …}.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

LOOK_S = 2.0
ASK_S = 2.0
LOOKS = 5  # in a row
SETTLE_S = 20.0  # seconds after a transfer, until the new leader is known everywhere


def ask(config: dict[str, Any], path: str, method: str = "GET") -> Any:
    """The parsed answer; None if there is none within ASK_S."""
    try:
        return Api(Endpoint(**config["dcs"])).ask(method, f"/v1/{path}", timeout=ASK_S).json()
    except ApiError:
        return None


def site_of_primary(config: dict[str, Any]) -> str:
    """ "" if no node holds the key. Raises MALFORMED."""
    entry = ask(config, f"kv/{config['leader_key']}")
    if not entry or not entry[0].get("Value"):
        return ""
    return str(config["sites"].get(base64.b64decode(entry[0]["Value"]).decode(), ""))


def better_leader(config: dict[str, Any], site: str) -> str:
    """If this node leads, the Raft ID of a voter at another site that is alive; otherwise "". Raises MALFORMED."""
    raft = ask(config, "operator/raft/configuration") or {}
    servers = raft.get("Servers", [])
    if not any(server["Leader"] and server["Node"] == config["node"] for server in servers):
        return ""
    alive = {m["Name"] for m in ask(config, "agent/members") or [] if m["Status"] == 1}
    for server in servers:
        elsewhere = config["sites"].get(server["Node"]) != site
        if server["Voter"] and elsewhere and server["Node"] in alive:
            return str(server["ID"])
    return ""


class Sightings:
    """How many times in a row the primary has been seen at this site."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._own = config["sites"][config["node"]]
        self._seen = 0
        self._looked = 0.0

    def poll(self, now: float) -> str:
        """The server that should lead instead of this node; "" if there is none. Raises MALFORMED."""
        here, self._seen = self._seen, 0
        paused, self._looked = now - self._looked > 2 * LOOK_S + 2 * ASK_S, now
        if site_of_primary(self._config) != self._own:
            return ""
        self._seen = 1 if paused else here + 1
        if self._seen < LOOKS:
            return ""
        self._seen = 0
        return better_leader(self._config, self._own)


def main(config: dict[str, Any]) -> None:
    sightings, said = Sightings(config), ""
    while True:
        time.sleep(LOOK_S)
        try:
            target = sightings.poll(time.monotonic())
        except MALFORMED as error:
            if repr(error) != said:  # once
                said = repr(error)
                print(f"the dcs agent's answer makes no sense: {said}", flush=True)
            continue
        if target:
            done = ask(config, f"operator/raft/transfer-leader?id={target}", "POST")
            print(f"leader handed to {target}: {done}", flush=True)
            time.sleep(SETTLE_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
