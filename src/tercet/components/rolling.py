"""Who is disturbed when: one member of a group at a time, and the one that matters most comes last.

A disturbed member is restarted, its component's conditions pass again, and only then the next one follows.
"""

from __future__ import annotations

from tercet.converge.requests import Answer, Exec, Http
from tercet.converge.resources import Rolling
from tercet.inventory.platform import Node, Platform, Role

# How much a node's restart disturbs the platform; the higher, the later.
# DOWN is one that does not serve at all: it is repaired first, and without asking whether the others are well.
DOWN, APPS, STANDBY, FOLLOWER, PRIMARY, LEADER = range(-1, 5)


def in_turn(group: str) -> Rolling:
    """One after another, in any order; each works alone, so one that cannot be reached keeps no other waiting."""
    return Rolling(group, Exec(("true",)), lambda _answer: 0, alone=True)


def primary_last(group: str, node: Node, platform: Platform) -> Rolling:
    """Database nodes: standbys before the primary, as Patroni's API on the node says."""
    return Rolling(group, Http(f"http://{node.name}:{platform.settings.ports.patroni}/patroni"), _database)


def leader_last(group: str, url: str) -> Rolling:
    """Servers of a Raft: followers before the leader, so that there is one election and not several.

    `url` is the /v1/agent/self of Consul or Nomad.
    """
    return Rolling(group, Http(url), _server)


def by_weight(group: str, node: Node, platform: Platform, url: str) -> Rolling:
    """Something that runs on every node: apps, standbys, followers, the primary, the leader of the Raft at `url`."""
    if node.role is Role.CONTROL:
        return leader_last(group, url)
    if node.role is Role.DB:
        return primary_last(group, node, platform)
    return Rolling(group, Exec(("true",)), lambda _answer: APPS)


def _database(answer: Answer) -> int:
    return PRIMARY if (answer.json() or {}).get("role") in ("primary", "master") else STANDBY


def _server(answer: Answer) -> int:
    found = answer.json()
    if not isinstance(found, dict):
        return DOWN
    consul = found.get("Stats", {}).get("raft", {}).get("state") == "Leader"
    nomad = found.get("stats", {}).get("nomad", {}).get("leader") == "true"
    return LEADER if consul or nomad else FOLLOWER
