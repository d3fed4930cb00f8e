"""Patroni's keys in `dcs`, through the local agent.

All questions are asked with `consistent`. Otherwise a server that was just started and elected answers from the state
of its last snapshot, or from an empty one, until it has replayed its log (hashicorp/consul#2644; seen 0.2 s after an
election: a primary saw an older leader key than its own, and stepped down).
"""

from __future__ import annotations

import base64
import time
from typing import Any

from tercet.nodeside.api import Api, ApiError
from tercet.nodeside.endpoint import Endpoint

WAIT_S = 10  # seconds of one blocking query; the agent adds up to a sixteenth


class Key:
    """One of Patroni's keys, asked of the local agent."""

    def __init__(self, dcs: Endpoint, scope: str, name: str) -> None:
        self._agent, self._path = Api(dcs, keep=True), f"/v1/kv/{scope}/{name}?raw&consistent"
        self._index = 0

    def changed(self, wait: float = WAIT_S) -> str:
        """Its value, or "" if the key does not exist. Returns after a change or `wait` seconds. Raises ApiError,
        ValueError.
        """
        path = f"{self._path}&index={self._index}&wait={1000 * wait:.0f}ms"
        answer = self._agent.ask("GET", path, timeout=wait + 5)
        if answer.status not in (200, 404):
            raise ApiError(f"status {answer.status}")
        index = int(answer.headers.get("X-Consul-Index", "0"))
        self._index = index if index >= self._index else 0  # the index of an agent that lost its state starts again
        return answer.body.decode() if answer.status == 200 else ""

    def taken(self, wait: float) -> str:
        """Its value as soon as the key exists; "" if it does not for `wait` seconds. Raises ApiError, ValueError."""
        end, value = time.monotonic() + wait, ""
        while not value and (left := end - time.monotonic()) > 0:
            value = self.changed(left)
        return value

    def again(self) -> None:
        """Let the next `changed` return at once."""
        self._index = 0

    def now(self) -> str:
        """Its value now. Raises ApiError."""
        answer = self._agent.ask("GET", self._path, timeout=2.0)
        if answer.status not in (200, 404):
            raise ApiError(f"status {answer.status}")
        return answer.body.decode() if answer.status == 200 else ""


def keys_of(agent: Api, scope: str, timeout: float) -> dict[str, dict[str, Any]]:
    """All keys of the cluster by name, with their values and indexes as Consul gives them. Raises ApiError, and the
    errors of an answer of another shape.
    """
    found = agent.ask("GET", f"/v1/kv/{scope}/?recurse&consistent", timeout=timeout).json() or []
    return {key["Key"].removeprefix(f"{scope}/"): key for key in found}


def text_of(key: dict[str, Any]) -> str:
    """The value of such a key; "" if there is none. Raises ValueError."""
    return base64.b64decode(key.get("Value") or "").decode()
