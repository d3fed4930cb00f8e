"""The groups of which only one member at a time may be disturbed, and how to find out whether a member leads.

The engine decides the order of members (converge/resources.py, Turn).
"""

from __future__ import annotations

from tercet.components import endpoints
from tercet.converge.requests import Answer, Exec, Http, Request
from tercet.converge.resources import Rolling, Standing
from tercet.inventory.platform import Node, Platform, Role
from tercet.nodeside.endpoint import Endpoint

_NOTHING = Exec(("true",))


def in_turn(group: str, *, client: bool = False, serves: Request = _NOTHING) -> Rolling:
    """Members without a leader that work alone, so a member that cannot be reached does not hold up the others.
    `serves` succeeds on a member that serves.
    """
    return Rolling(group, serves, _succeeds, client, alone=True)


def databases(group: str, node: Node, platform: Platform, *, client: bool = False) -> Rolling:
    """Database nodes. The primary leads, according to Patroni's API on the node."""
    return Rolling(group, Http(endpoints.patroni(platform, node.name), "/patroni"), _database, client)


def raft_servers(group: str, agent: Endpoint) -> Rolling:
    """Servers of a Raft of Consul or Nomad. The node's own agent says whether it leads."""
    return Rolling(group, Http(agent, "/v1/agent/self"), _server)


def everywhere(group: str, node: Node, platform: Platform, agent: Endpoint) -> Rolling:
    """Agents on every node: servers on the nodes of the Raft of `agent`, clients on the others."""
    match node.role:
        case Role.CONTROL:
            return raft_servers(group, agent)
        case Role.DB:
            return databases(group, node, platform, client=True)
        case _:
            return Rolling(group, _NOTHING, lambda _answer: Standing.FOLLOWER, client=True)


def _succeeds(answer: Answer) -> Standing:
    return Standing.FOLLOWER if answer.ok else Standing.DOWN


def _database(answer: Answer) -> Standing:
    leads = (answer.json() or {}).get("role") in ("primary", "master")
    return Standing.LEADER if leads else Standing.FOLLOWER


def _server(answer: Answer) -> Standing:
    found = answer.json()
    if not isinstance(found, dict):
        return Standing.DOWN
    consul = found.get("Stats", {}).get("raft", {}).get("state") == "Leader"
    nomad = found.get("stats", {}).get("nomad", {}).get("leader") == "true"
    return Standing.LEADER if consul or nomad else Standing.FOLLOWER
