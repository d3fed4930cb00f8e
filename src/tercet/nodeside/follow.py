"""Makes a standby follow only the holder of the leader key (`tercet-follow.service`, database nodes).

Gossip frees the leader key of a primary that is cut off within 1 to 2 s, while that primary still runs. When the cut
heals, its standbys stream from it again at once, although one of them may have given its vote to another node: the old
primary acknowledges writes that the new one does not have (seen after a cut of 2 s: 23 acknowledged writes lost). A
vote in Patroni is only an answer that says how much WAL a node has. This program makes it binding:

1. It watches the leader key through the local `dcs` agent. When another node holds the key, or nobody for GRACE_S, an
   nftables rule resets every connection from this node to the PostgreSQL of the other database nodes. So the old
   primary gets no confirmation from here.
2. When no WAL can arrive any more, it writes to its own key in `dcs` which node it may follow and how much WAL it has.
   The node that wants to lead waits for these reports before it is promoted (votes.py).
3. It opens the way to the new holder of the key, but only if that node holds the key after the report was written.

Patroni deletes and takes the key again when it restarts on a primary, which takes less than GRACE_S; nothing is closed
then. While `dcs` is silent, nothing changes: nobody can be promoted either.

It also makes sure that the standby can follow that node (stray.py).

If this program is dead, suspended or refused, the rule stays as it is, and other nodes do not get this node's report.
systemd starts it again. A primary follows nobody.

Argument: a JSON file {"node": …, "dcs": endpoint, "scope": "service/NAME", "reports": the path of the reports' keys,
"patroni": endpoint, "peers": [name, …], "port": PostgreSQL's, "data": PATH, "controldata": program, "hosts": …,
"tailnet": CIDR}.
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
from tercet.nodeside.keys import Key
from tercet.nodeside.processes import postmaster, walreceiver
from tercet.nodeside.stray import Stray
from tercet.nodeside.tailnet import Tailnet, addresses_in
from tercet.nodeside.timeline import known

GRACE_S = 0.25
WAIT_S = 3  # seconds between two looks if nothing changes
CLOSED_S = 1.0  # seconds until the walreceiver must have noticed that the way is closed
API_S = 2.0
RETRY_S = 0.2
TABLE = "inet tercet_follow"
NONSENSE = (ValueError, TypeError, KeyError, IndexError, AttributeError)  # raised by an answer of another shape


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
        for address in shut:
            # A stream that is idle would end only at its next packet.
            run(["ss", "--kill", "--tcp", "--numeric", "dst", address, "dport", "=", f":{self._port}"])

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
        self._path = f"/v1/kv/{config['reports']}/{config['node']}"
        self._dcs, self._patroni = Api(dcs), Api(Endpoint(**config["patroni"]))
        self._history = f"/v1/kv/{config['scope']}/history?raw"
        self._pid_file = f"{config['data']}/postmaster.pid"
        self._stray = Stray(config["data"], config["controldata"])
        self._open = ""  # the node to which the way is open, as far as this program knows
        self._done: str | None = None  # the holder of the key that was completely dealt with
        self._said = ""

    def turn(self) -> None:
        """Wait for a change of the key, and follow it. Raises ApiError, NONSENSE, ProgramError, OSError."""
        holder = self._key.changed(WAIT_S if self._done is not None else 1)
        if not holder and self._open:
            time.sleep(GRACE_S)
            holder = self._key.now()
        if self._done is None and self._is_done(holder):
            self._open = self._done = holder
        if holder == self._done:
            return self._look_for_strays()
        self._done = None
        if holder in ("", self._node) or holder != self._open:
            self._way.only("")
            self._open = ""
        whole = self._report(holder)
        if holder not in ("", self._node):
            # After the report was written: whoever read it knows that the way is not open to an older holder.
            if self._key.now() != holder:
                return
            self._way.only(holder)
            self._open = holder
        self._done = holder if whole else None

    def _is_done(self, holder: str) -> bool:
        """Whether an earlier process of this program has followed this holder. Then its stream is left alone."""
        if self._said or holder in ("", self._node):
            return False
        answer = self._dcs.ask("GET", f"{self._path}?raw", timeout=API_S)
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
        except (ApiError, *NONSENSE):
            return

    def again(self) -> None:
        """Start again after an error."""
        self._done = None
        self._key.again()

    def _report(self, holder: str) -> bool:
        """Report what this node has, and that it can get no more from anybody but `holder`. Returns whether the report
        is a vote.
        """
        report = json.dumps({"follows": holder, "lsn": self._received()})
        self._dcs.ask("PUT", self._path, report.encode(), timeout=API_S).json()
        if report != self._said:
            self._said = report
            print(f"reported {report}", flush=True)
        return holder == self._node or '"lsn": -1' not in report

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
        except (ApiError, *NONSENSE):
            return -1

    def _is_still(self) -> bool:
        """Whether no walreceiver is left."""
        end = time.monotonic() + CLOSED_S
        while receiver := walreceiver(postmaster(self._pid_file)):
            if time.monotonic() > end:
                print(f"walreceiver {receiver} does not end", flush=True)
                return False
            time.sleep(0.01)
        return True


def main(config: dict[str, Any]) -> None:
    way = Way(config["peers"], config["port"], config["hosts"], Tailnet(config["tailnet"]))
    follower = Follower(config, way)
    print("watching", flush=True)
    said = ""
    while True:
        notify("READY=1\nWATCHDOG=1")
        try:
            follower.turn()
            said = ""
        except (ApiError, ProgramError, OSError, *NONSENSE) as error:
            if repr(error) != said:  # logged once
                said = repr(error)
                print(said, flush=True)
            follower.again()
            time.sleep(RETRY_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
