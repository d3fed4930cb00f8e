"""Brings one key for gossip to every member of Consul or Nomad, and takes others away. Members take a key, use it and
forget others while they run, and have their keys in a file, so what their configuration says counts only for new ones.

Nothing changes while a member is away: it would come back with a key that nobody accepts.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from tercet.nodeside.api import Api, ApiError

LIST_S = 4.0
CHANGE_S = 15.0  # a member that does not answer takes seconds


class Kind(NamedTuple):
    """An API for keys: the method and path of each call. It answers with a list of pools, or with the only one."""

    list: tuple[str, str]
    install: tuple[str, str]
    use: tuple[str, str]
    remove: tuple[str, str]


_CONSUL = "/v1/operator/keyring"
_NOMAD = "/v1/agent/keyring"
KINDS = {
    "consul": Kind(("GET", _CONSUL), ("POST", _CONSUL), ("PUT", _CONSUL), ("DELETE", _CONSUL)),
    "nomad": Kind(
        ("GET", f"{_NOMAD}/list"), ("PUT", f"{_NOMAD}/install"), ("PUT", f"{_NOMAD}/use"), ("PUT", f"{_NOMAD}/remove")
    ),
}


class Pool(NamedTuple):
    """One pool: how many of its members answer, and how many of them have each key."""

    members: int
    keys: dict[str, int]


class Keyring:
    """The keys of all pools of a kind, whose members are `members` in number, summed over the pools."""

    def __init__(self, api: Api, kind: str, members: int) -> None:
        self._api, self._kind, self._members = api, KINDS[kind], members

    def settle(self, key: str) -> None:
        """Make `key` the only one. Raises ApiError if a member is away or refuses; then do it again."""
        pools = self._pools()
        if (members := sum(pool.members for pool in pools)) < self._members:
            raise ApiError(f"expected {self._members} members of all gossip pools, found {members}")
        others = sorted({each for pool in pools for each in pool.keys} - {key})
        if any(pool.keys.get(key, 0) < pool.members for pool in pools):
            self._change(self._kind.install, key)
        if others:
            self._change(self._kind.use, key)
        for other in others:
            self._change(self._kind.remove, other)

    def _change(self, call: tuple[str, str], key: str) -> None:
        self._ask(call, json.dumps({"Key": key}).encode(), CHANGE_S)

    def _pools(self) -> list[Pool]:
        found = json.loads(self._ask(self._kind.list, b"", LIST_S))
        pools = found if isinstance(found, list) else [found]
        return [Pool(each["NumNodes"], each["Keys"]) for each in pools]

    def _ask(self, call: tuple[str, str], body: bytes, timeout: float) -> bytes:
        answer = self._api.ask(*call, body, timeout=timeout)
        if answer.status != 200:
            raise ApiError(f"status {answer.status}: {answer.text().strip()[:200]}")
        return answer.body
