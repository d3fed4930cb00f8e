"""Counts, before a standby is promoted, the nodes that can confirm no more writes of another primary.

Patroni runs pre-promote.sh as its `pre_promote`: this node holds the leader key, but is still a standby. If the script
fails, Patroni gives up the key. Patroni has counted votes before, but its votes are not binding: the voter may go on
streaming from the old primary. So the votes are counted again, from the reports that follow.py writes on each node. A
node that reported that it may follow only this node, or no node, gets no WAL from another primary any more. If it has
no more WAL than this node, then this node has everything that both of them have confirmed.

As many votes are needed as in Patroni's own election (docs: quorum commit), from the members of its key `sync`.

The script asks tercet-follow.service, which answers from a thread, because a Python that has to start first and import
an HTTP client took 0.3 s of a failover on a busy node. Nothing is remembered between two answers.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from tercet.nodeside.api import MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

# A report takes a third of a second, and a second more if the node has to be asked again. Meanwhile no write is
# possible, and another node may get the votes that this one does not get.
PATIENCE_S = 4.0
API_S = 1.0


@dataclass(frozen=True, slots=True)
class Election:
    """Whose votes count: `voters` without this node, and how many are needed."""

    voters: frozenset[str]
    needed: int
    leader: str = ""  # the last leader according to `sync`; it may have WAL that no standby confirmed

    @classmethod
    def of(cls, sync: dict[str, Any], node: str) -> Election:
        """From Patroni's key `sync`; without a leader in it, there was no synchronous replication."""
        leader = str(sync.get("leader") or "")
        if leader in ("", node):
            return cls(frozenset(), 0, leader)
        members = {leader, *str(sync.get("sync_standby") or "").split(",")} - {""}
        needed = int(sync.get("quorum") or 0) + (0 if node in members else 1)
        return cls(frozenset(members - {node}), needed, leader)

    def votes(self, reports: dict[str, dict[str, Any]], node: str, lsn: int) -> set[str]:
        """Who votes for this node, which has the WAL up to `lsn`."""
        bound = {name: int(said["lsn"]) for name, said in reports.items() if said["follows"] in ("", node)}
        return {name for name in self.voters & bound.keys() if 0 <= bound[name] <= lsn}

    def ahead(self, reports: dict[str, dict[str, Any]], lsn: int) -> set[str]:
        """The standbys that have more: one of them must lead."""
        standbys = (self.voters - {self.leader}) & reports.keys()
        return {name for name in standbys if int(reports[name]["lsn"]) > lsn}


class Cluster:
    """What the node's own Patroni and `dcs` say."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._dcs, self._patroni = Api(Endpoint(**config["dcs"]), keep=True), Api(Endpoint(**config["patroni"]))
        self._sync, self._reports = f"/v1/kv/{config['scope']}/sync?consistent", f"/v1/kv/{config['reports']}/"

    def election(self, node: str) -> Election:
        return Election.of(self._values(self._sync).get("sync", {}), node)

    def reports(self) -> dict[str, dict[str, Any]]:
        return self._values(f"{self._reports}?recurse&consistent")

    def lsn(self) -> int:
        """The position up to which this node has WAL, in bytes."""
        said = json.loads(self._patroni.ask("GET", "/patroni", timeout=API_S).body)["xlog"]
        return max(int(said.get(name) or 0) for name in ("received_location", "replayed_location"))

    def _values(self, path: str) -> dict[str, dict[str, Any]]:
        found = self._dcs.ask("GET", path, timeout=API_S).json() or []
        return {key["Key"].rpartition("/")[2]: json.loads(base64.b64decode(key["Value"])) for key in found}


def objection(config: dict[str, Any]) -> str:
    """Why this node must not be promoted; "" if it may. Waits up to PATIENCE_S for the votes."""
    node, cluster = config["node"], Cluster(config)
    end = time.monotonic() + PATIENCE_S
    missing = "dcs does not answer"
    while time.monotonic() < end:
        try:
            election = cluster.election(node)
            if election.needed == 0:
                return ""
            reports, lsn = cluster.reports(), cluster.lsn()
            if ahead := election.ahead(reports, lsn):
                return f"{', '.join(sorted(ahead))} has more WAL than {lsn}"
            votes = election.votes(reports, node, lsn)
            if len(votes) >= election.needed:
                return ""
            missing = f"{len(votes)} of {election.needed} votes of {', '.join(sorted(election.voters))}"
        except (ApiError, *MALFORMED) as error:
            missing = repr(error)
        time.sleep(0.01)
    return missing


class Counter(ThreadingTCPServer):
    """Sends one line to whoever connects: "promote", or "not promoted: " and the reason."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", config["votes"]), Answer)
        self.config = config

    def start(self) -> None:
        Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseRequestHandler):
    server: Counter

    def handle(self) -> None:
        why_not = objection(self.server.config)
        with suppress(OSError):  # the script was ended meanwhile
            self.request.sendall(f"{f'not promoted: {why_not}' if why_not else 'promote'}\n".encode())
