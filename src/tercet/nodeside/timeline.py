"""Records a new primary's timeline in Patroni's `history` in `dcs`, before the first write on it is acknowledged.

Patroni 4.0 records a new timeline only a second or two after the promotion (ha.py, update_cluster_history), and in
quorum mode a promotion changes no other key than the leader key. If the new primary loses its leader key before that,
an old primary that still runs takes the key: nothing in `dcs` says that there was another. What the new primary and its
standby have acknowledged is then rewound (seen: a primary's site was cut off for two seconds, and its stale gossip
ended the new primary's session; 15 acknowledged writes were lost). With the timeline in `history`, Patroni refuses the
lead to every node that is not on it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from tercet.nodeside.api import JSON, MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keys import keys_of, text_of

API_S = 1.0  # seconds for an answer
CONFLICT = 409


class Recorder:
    """Patroni's keys of one cluster, through the local `dcs` agent."""

    def __init__(self, dcs: Endpoint, scope: str, node: str) -> None:
        self._agent, self._scope, self._node = Api(dcs, headers=JSON), scope, node

    def record(self, timeline: int, history: str) -> str:
        """Record `timeline`, whose history file has this text, if this node holds the leader key. Returns "" if the
        timeline is recorded, by this call or before; otherwise why it is not.
        """
        try:
            keys = keys_of(self._agent, self._scope, API_S)
            leader = keys.get("leader", {})
            if text_of(leader) != self._node or "Session" not in leader:
                return f"{text_of(leader) or 'no node'} holds the leader key"
            if known(text_of(keys.get("history", {}))) == timeline:
                return ""
            found = lines(history)
            if not found or found[-1][0] != timeline - 1:
                return f"the history file of timeline {timeline} is missing or incomplete"
            return self._write(leader["Session"], keys.get("history", {}), found)
        except (ApiError, *MALFORMED) as error:
            return f"dcs does not answer: {error!r}"

    def _write(self, session: str, before: dict[str, Any], history: list[list[int | str]]) -> str:
        """In one transaction with the proof that this node still holds the leader key."""
        value = base64.b64encode(json.dumps(history, separators=(",", ":")).encode()).decode()
        index = before.get("ModifyIndex", 0)  # 0: the key must not exist
        changes = (
            {"Verb": "check-session", "Key": f"{self._scope}/leader", "Session": session},
            {"Verb": "cas", "Key": f"{self._scope}/history", "Value": value, "Index": index},
        )
        body = json.dumps([{"KV": change} for change in changes]).encode()
        answer = self._agent.ask("PUT", "/v1/txn", body, timeout=API_S)
        if answer.status == CONFLICT:
            return "the leader key or the history changed meanwhile"
        answer.json()
        return ""


def known(history: str) -> int:
    """The timeline that Patroni's value of `history` ends in; 1 if it is empty. Raises MALFORMED."""
    found = json.loads(history or "[]")
    return int(found[-1][0]) + 1 if found else 1


def lines(history: str) -> list[list[int | str]]:
    """The lines of a timeline's history file as Patroni stores them: timeline, end in bytes, reason."""
    found: list[list[int | str]] = []
    for line in history.splitlines():
        fields = line.strip().split("\t")
        if len(fields) == 3:
            high, low = fields[1].split("/")
            found.append([int(fields[0]), (int(high, 16) << 32) + int(low, 16), fields[2]])
    return found
