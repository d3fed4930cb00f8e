"""The leader key of Patroni in `dcs`, as the watchdog of one database node sees it through the local agent."""

from __future__ import annotations

import json
import time
from typing import Any

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.keys import keys_of, text_of

ASK_S = 1.0  # seconds between two questions
AGAIN_S = 0.25  # after a loss, and while `dcs` is silent
DCS_S = 2.0  # seconds for an answer
LATELY_S = 10.0
CUT_S = 1.0  # a longer silence of `dcs` is long enough for gossip to end the key's session


class LeaderKey:
    """Whether this node holds the key, and whether it lost the key. Silence of `dcs` does not count as a loss."""

    def __init__(self, at: Endpoint, scope: str, node: str) -> None:
        self._at, self._scope, self._node = at, scope, node
        self._asked = Api(at, keep=True)  # only by `ask`
        self._cluster: tuple[int, str] | None = None  # changes if `dcs` lost its data and knows the cluster again
        # The CreateIndex of the key that this node holds. It changes if the key is lost and taken again.
        self._index = 0
        self._lost = float("-inf")
        self._heard = time.monotonic()  # when `dcs` last answered
        self.cut_off = False  # whether the last loss came with a silence of `dcs`: others may have led meanwhile
        self.answers = True  # whether the last question was answered, that is, whether `dcs` has a leader
        self.successor = False  # whether another node may lead, according to the last answer

    def ask(self) -> None:
        try:
            keys = keys_of(self._asked, self._scope, DCS_S)
            # Without the cluster's own key, `dcs` has lost its data, and no other node could lead (docs/recovery.md).
            if "initialize" in keys:
                self._learn_cluster(keys)
                self._learn(self._own(keys), keys.get("sync", {}))
        except (ApiError, *MALFORMED):
            self.answers = False
        else:
            self.answers, self._heard = True, time.monotonic()

    def ask_for_ever(self) -> None:
        while True:
            self.ask()
            time.sleep(AGAIN_S if self.lost_lately() or not self.answers else ASK_S)

    def lost_lately(self) -> bool:
        """Whether this node lost the key within LATELY_S. It may hold the key again."""
        return time.monotonic() - self._lost < LATELY_S

    def forget(self) -> None:
        """This node is not the primary."""
        self._index, self._lost, self.cut_off = 0, float("-inf"), False

    def give_up(self) -> None:
        """Destroy the session that holds the key, if it is this node's. On an error the key ends with its ttl."""
        try:
            keys = keys_of(Api(self._at), self._scope, DCS_S)
            if self._own(keys):
                session = keys["leader"]["Session"]
                Api(self._at).ask("PUT", f"/v1/session/destroy/{session}", timeout=DCS_S).json()
                print("the leader key is given up", flush=True)
        except (ApiError, *MALFORMED) as error:
            print(f"the leader key ends with its ttl: {error}", flush=True)

    def _learn_cluster(self, keys: dict[str, dict[str, Any]]) -> None:
        """A key that was lost with the data of `dcs` was not lost to another node. Two Rafts may give `initialize` the
        same index, so `recover dcs` also writes when it was run.
        """
        cluster = int(keys["initialize"]["CreateIndex"]), text_of(keys.get("recovered", {}))
        if self._cluster != cluster:
            self.forget()
        self._cluster = cluster

    def _learn(self, index: int, sync: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._index and index != self._index:
            self._lost = now
            self.cut_off = now - self._heard > ASK_S + CUT_S
        self._index = index
        standbys = json.loads(text_of(sync) or "{}").get("sync_standby") or ""
        self.successor = bool({*standbys.split(",")} - {"", self._node})

    def _own(self, keys: dict[str, dict[str, Any]]) -> int:
        """The CreateIndex of the leader key if this node holds it, else 0."""
        key = keys.get("leader", {})
        return int(key["CreateIndex"]) if text_of(key) == self._node else 0
