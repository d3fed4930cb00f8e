"""Makes a standby follow only the holder of the leader key (`tercet-follow.service`, database nodes).

Gossip frees the leader key of a primary that is cut off within 1 to 2 s, while that primary still runs. When the cut
heals, its standbys stream from it again at once, although one of them may have given its vote to another node: the old
primary acknowledges writes that the new one does not have (seen after a cut of 2 s: 23 acknowledged writes lost). A
vote in Patroni is only an answer that says how much WAL a node has. This program makes it binding:

1. It watches the leader key through the local `dcs` agent. When another node or no node holds the key, an nftables rule
   resets every connection from this node to the PostgreSQL of the other database nodes. So the old primary gets no
   confirmation from here.
2. When no WAL can arrive any more, it writes to its own key in `dcs` which node it may follow and how much WAL it has.
   The node that wants to lead waits for these reports before it is promoted; a thread of this program counts them
   (votes.py).
3. It opens the way to the new holder of the key, but only if that node holds the key after the report was written.

When Patroni restarts on a primary, it deletes the key and takes it again, 0.07 s later in the lab. So a stream that is
alive is cut only when no node has held the key for GRACE_S. While `dcs` is silent, nothing changes: no node can be
promoted either.

It also makes sure that the standby can follow that node (stray.py).

If this program is dead, suspended or refused, the rule stays as it is, and other nodes do not get this node's report.
systemd starts it again. A primary follows no node.

Argument: a JSON file {"node": …, "dcs": endpoint, "scope": "service/NAME", "reports": the path of the reports' keys,
"patroni": endpoint, "votes": the port on loopback where votes.py answers, "peers": [name, …], "port": PostgreSQL's,
"data": PATH, "controldata": program, "hosts": …, "tailnet": CIDR}.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from typing import Any

from tercet.nodeside.api import JSON, MALFORMED, Api, ApiError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.keys import Key, text_of
from tercet.nodeside.processes import postmaster, walreceiver
from tercet.nodeside.stray import Stray
from tercet.nodeside.tailnet import Tailnet, addresses_in
from tercet.nodeside.timeline import known
from tercet.nodeside.votes import Counter

GRACE_S = 0.25
WAIT_S = 3  # seconds between two looks if nothing changes
CLOSED_S = 1.0  # seconds until the walreceiver must have noticed that the way is closed
API_S = 2.0
RETRY_S = 0.2
CONFLICT = 409
TABLE = "inet tercet_follow"


class Way:
    """The rule that keeps this node's PostgreSQL from all others but one."""

    def __init__(self, peers: list[str], port: int, hosts: str, tailnet: Tailnet) -> None:
        self._peers, self._port, self._hosts, self._tailnet = peers, port, hosts, tailnet

    def only(self, holder: str) -> None:
        """Leave the way open only to this node; "" closes it to all. Raises ProgramError, OSError."""
        shut = self._addresses({peer for peer in self._peers if peer != holder})
        rule = f"ip daddr {{ {', '.join(sorted(shut))} }} tcp dport {self._port} reject with tcp reset" if shut else ""
        script = f"""
            table {TABLE} {{}}
            delete table {TABLE}
            table {TABLE} {{
                chain leave {{
                    type filter hook output priority 0
                    {rule}
                }}
            }}
        """
        run(["nft", "-f", "-"], script)
        if shut:
            # A stream that is idle would end only at its next packet.
            peers = " or ".join(f"dst {address}:{self._port}" for address in sorted(shut))
            run(["ss", "--kill", "--tcp", "--numeric", *peers.split()])

    def is_only(self, holder: str) -> bool:
        """Whether an earlier process left the way open to this node alone. Raises OSError."""
        try:
            named = set(re.findall(r"[\d.]+", run(["nft", "list", "table", *TABLE.split()])))
        except ProgramError:
            return False
        others = self._addresses({peer for peer in self._peers if peer != holder})
        return others <= named and not self._addresses({holder}) & named

    def _addresses(self, names: set[str]) -> set[str]:
        with open(self._hosts) as file:
            return addresses_in(file.read(), names, self._tailnet)


class Follower:
    """This node as a follower of the leader key's holder."""

    def __init__(self, config: dict[str, Any], way: Way) -> None:
        dcs = Endpoint(**config["dcs"])
        self._node, self._way = config["node"], way
        self._key = Key(dcs, config["scope"], "leader")
        self._leader_key = f"{config['scope']}/leader"
        self._report_key = f"{config['reports']}/{config['node']}"
        self._dcs, self._patroni = Api(dcs, headers=JSON, keep=True), Api(Endpoint(**config["patroni"]))
        self._history = f"/v1/kv/{config['scope']}/history?raw&consistent"
        self._pid_file = f"{config['data']}/postmaster.pid"
        self._stray = Stray(config["data"], config["controldata"])
        self._open: str | None = None  # the node to which the way is open; "": closed to all; None: not known
        self._still = False  # whether the last walreceiver has ended since the way was closed
        self._done: str | None = None  # the holder of the key that was completely dealt with
        self._said = ""

    def turn(self) -> None:
        """Wait for a change of the key, and follow it. Raises ApiError, MALFORMED, ProgramError, OSError."""
        holder = self._key.changed(WAIT_S if self._done is not None else 1)
        if self._open and not holder and self._streams():
            holder = self._key.taken(GRACE_S)
        if self._done is None and self._is_done(holder):
            self._open = self._done = holder
        if holder == self._done:
            return self._look_for_strays()
        self._done = None
        if holder in ("", self._node):
            self._close()
            lsn = self._received()
            self._report(holder, lsn)
        else:
            if holder != self._open:
                self._close()
            lsn = self._received()
            if not self._report_if_led(holder, lsn):
                return
            if holder != self._open:
                self._open_to(holder)
        if lsn >= 0 or holder == self._node:
            self._done = holder

    def _close(self) -> None:
        if self._open != "":
            self._open, self._still = None, False
            self._way.only("")
            self._open = ""

    def _open_to(self, holder: str) -> None:
        self._open = None
        self._way.only(holder)
        self._open = holder

    def _is_done(self, holder: str) -> bool:
        """Whether an earlier process of this program has followed this holder. Then its stream is left alone."""
        if self._said or holder in ("", self._node):
            return False
        answer = self._dcs.ask("GET", f"/v1/kv/{self._report_key}?raw&consistent", timeout=API_S)
        said = json.loads(answer.body) if answer.status == 200 else {}
        return said.get("follows") == holder and said.get("lsn") != -1 and self._way.is_only(holder)

    def _look_for_strays(self) -> None:
        """Nothing depends on an answer here: Patroni may be down for a while."""
        if not self._open:
            return
        try:
            status = self._patroni.ask("GET", "/patroni", timeout=API_S).body
            history = self._dcs.ask("GET", self._history, timeout=API_S)
            recorded = known(history.text() if history.status == 200 else "")
            for name in self._stray.look(json.loads(status), recorded):
                print(f"{name} was given up: renamed", flush=True)
        except (ApiError, *MALFORMED):
            return

    def again(self) -> None:
        """Start again after an error."""
        self._done = None
        self._key.again()

    def _report(self, holder: str, lsn: int) -> None:
        """Report what this node has, and that it can get no more from anybody but `holder`."""
        report = json.dumps({"follows": holder, "lsn": lsn})
        self._dcs.ask("PUT", f"/v1/kv/{self._report_key}", report.encode(), timeout=API_S).json()
        self._log(report)

    def _report_if_led(self, holder: str, lsn: int) -> bool:
        """The same, and whether `holder` still held the key when the report was written. Only then may the way be
        opened: whoever reads the report knows that the way is not open to an older holder.
        """
        report = json.dumps({"follows": holder, "lsn": lsn})
        changes = (
            {"Verb": "set", "Key": self._report_key, "Value": base64.b64encode(report.encode()).decode()},
            {"Verb": "get", "Key": self._leader_key},  # fails if there is none, and nothing is written then
        )
        body = json.dumps([{"KV": change} for change in changes]).encode()
        answer = self._dcs.ask("PUT", "/v1/txn", body, timeout=API_S)
        if answer.status == CONFLICT:
            return False
        _, leader = (result["KV"] for result in answer.json()["Results"])
        self._log(report)
        return text_of(leader) == holder

    def _log(self, report: str) -> None:
        if report != self._said:
            self._said = report
            print(f"reported {report}", flush=True)

    def _received(self) -> int:
        """The WAL position up to which this node has everything, in bytes; -1 if it is no standby that could tell."""
        if not self._open and not self._is_still():
            return -1
        try:
            found = self._patroni.ask("GET", "/patroni", timeout=API_S)
            said = json.loads(found.body)
            if said.get("role") not in ("replica", "standby_leader"):
                return -1
            return max(int(said["xlog"].get(name) or 0) for name in ("received_location", "replayed_location"))
        except (ApiError, *MALFORMED):
            return -1

    def _streams(self) -> bool:
        return walreceiver(postmaster(self._pid_file), "streaming") > 0

    def _is_still(self) -> bool:
        """Whether no walreceiver is left that began before the way was closed."""
        end = time.monotonic() + CLOSED_S
        while not self._still and (receiver := walreceiver(postmaster(self._pid_file))):
            if time.monotonic() > end:
                print(f"walreceiver {receiver} does not end", flush=True)
                return False
            time.sleep(0.01)
        self._still = True
        return True


def main(config: dict[str, Any]) -> None:
    way = Way(config["peers"], config["port"], config["hosts"], Tailnet(config["tailnet"]))
    follower = Follower(config, way)
    Counter(config).start()
    print("watching", flush=True)
    said = ""
    while True:
        notify("READY=1\nWATCHDOG=1")
        try:
            follower.turn()
            said = ""
        except (ApiError, ProgramError, OSError, *MALFORMED) as error:
            if repr(error) != said:  # logged once
                said = repr(error)
                print(said, flush=True)
            follower.again()
            time.sleep(RETRY_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
