"""Hands the lead over when the disk is full (`tercet-room.service`, database nodes, as root).

A PostgreSQL whose disk is full refuses what needs a new page (53100) and panics where it needs a new WAL segment; then
its recovery fails for the same reason, again and again. Patroni sees a primary that runs, or that starts, and keeps the
leader key: nobody writes for as long as the disk is full. So this program looks at the room that is left:

- A node keeps a reserve: a file of RESERVE bytes beside the data. A node without one is full. The file is the state, so
  there is nothing to remember across a restart of this program.
- Fewer than FLOOR bytes free in LOOKS looks in a row: full, and the reserve is removed. Its room lets PostgreSQL finish
  its recovery or shut down, and Patroni write its files, even where the disk was filled to the last byte. Not at the
  first look: a query may fill the disk with temporary files, fail because of it and leave.
- A full primary asks its Patroni for a switchover to a standby that streams and has at least TIGHT bytes free. Patroni
  judges that standby as in every switchover. All nodes hold the same data, so disks of one size fill up together: with
  FLOOR alone, the lead would go from one to the next.
- The nodes tell each other how much room they have by keys in `dcs`, each its own. Not by tags of Patroni: it takes
  those from its configuration, and when that is read anew, Patroni writes PostgreSQL's from scratch, which a full disk
  leaves empty.
- While a node is full, tercet-strict refuses writes on it if it is the primary (25006; the file `full` tells it), so
  that WAL does not use up the reserve. Where no standby has room that is the end: nobody hands over to anybody.
- Room for the reserve and twice FLOOR in LOOKS looks in a row: the reserve is made again. The node is a standby like
  any other, or a primary that accepts writes. It does not ask for the lead back.

Looks are counted, not seconds: nothing is concluded from a pause of this program. A look that fails is not counted.
Not covered: what fills a disk and then the reserve leaves PostgreSQL to itself; so does a standby's WAL, in time, and
then the standby stops to stream until there is room.

Argument: a JSON file {"node": …, "patroni": endpoint, "dcs": endpoint, "keys": …,
"reserve": …, "full": …}.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from typing import Any

from tercet.nodeside.api import JSON, Api, ApiError
from tercet.nodeside.endpoint import Endpoint

LOOK_S = 0.25
LOOKS = 4
MIB = 1 << 20
FLOOR = 64 * MIB  # 16 WAL segments of this platform
RESERVE = 64 * MIB
BACK = RESERVE + 2 * FLOOR
TIGHT = 256 * MIB
ASK_S = 1.0  # between two questions to Patroni
AGAIN_S = 5.0  # between two requests for a switchover
API_S = 2.0
SWITCH_S = 5.0  # a switchover takes 1 to 2 s
PUBLISH_S = 10.0  # a `dcs` that lost its data is told again

# How much room there is.
ROOMY, SHORT, FULL = range(3)
WORDS = ("roomy", "short", "full")


def free(folder: str) -> int:
    """Bytes that PostgreSQL could still write there; what is reserved for root does not count. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def wanted(level: int, left: int) -> int:
    """The level that a reading of `left` bytes stands for, on a node of this level."""
    if level == FULL:
        return FULL if left < BACK else SHORT
    if left < TIGHT:
        return FULL if left < FLOOR else SHORT
    return ROOMY if left >= TIGHT + FLOOR else level


def make_reserve(path: str) -> None:
    """Of bytes that no file system can compress. Raises OSError; then there is none."""
    fresh = f"{path}.new"
    try:
        with open(fresh, "wb") as file:
            for _ in range(RESERVE // MIB):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        remove(fresh)
        raise


def remove(path: str) -> bool:
    """False where it is not there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def sync(folder: str) -> None:
    """A file system may give away the room of a removed file only once the removal is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Board:
    """Where the nodes tell each other how much room they have."""

    def __init__(self, dcs: Endpoint, keys: str, node: str) -> None:
        self._agent, self._keys, self._node = Api(dcs), keys, node

    def tell(self, level: int) -> bool:
        """It is there for the others to read."""
        try:
            path = f"/v1/kv/{self._keys}/{self._node}"
            return self._agent.ask("PUT", path, WORDS[level].encode(), timeout=API_S).status == 200
        except ApiError:
            return False

    def roomy(self) -> set[str]:
        """The nodes that say so. Raises ApiError, ValueError, LookupError."""
        found = self._agent.ask("GET", f"/v1/kv/{self._keys}/?recurse", timeout=API_S).json() or []
        words = {one["Key"].rpartition("/")[2]: base64.b64decode(one["Value"] or "").decode() for one in found}
        return {node for node, word in words.items() if word == WORDS[ROOMY]}


class Patroni:
    """The node's own."""

    def __init__(self, at: Endpoint) -> None:
        self._api = Api(at, headers=JSON)

    def cluster(self) -> dict[str, Any]:
        """What it says of the cluster. Raises ApiError, TypeError, ValueError."""
        return dict(self._api.ask("GET", "/cluster", timeout=API_S).json())

    def switch_over(self, leader: str, candidate: str) -> str:
        """Ask for it; what Patroni answers. Raises ApiError."""
        body = json.dumps({"leader": leader, "candidate": candidate}).encode()
        return self._api.ask("POST", "/switchover", body, timeout=SWITCH_S).text()


def successor(cluster: dict[str, Any], roomy: set[str], node: str) -> str:
    """The standby to which `node` can hand over: with room, and of these the one with the least lag. "" where there is
    none, where `node` does not lead, and while Patroni is paused, as then somebody works on the cluster."""
    members = cluster["members"]
    leads = any(member["name"] == node and member["role"] == "leader" for member in members)
    if not leads or cluster.get("pause"):
        return ""
    fit = [
        (member["lag"], member["name"])
        for member in members
        if member["state"] == "streaming" and isinstance(member.get("lag"), int) and member["name"] in roomy
    ]
    return str(min(fit)[1]) if fit else ""


class Room:
    """The state between two looks."""

    def __init__(self, node: str, patroni: Patroni, board: Board, reserve: str, full: str) -> None:
        self._node, self._patroni, self._board = node, patroni, board
        self._reserve, self._full = reserve, full
        self._folder = os.path.dirname(reserve)
        self._seen, self._looks = ROOMY, 0  # what the last looks wanted, and how many of them in a row
        self._tell_at = self._ask_at = 0.0
        self.level = ROOMY

    def start(self) -> None:
        """Go on where a predecessor was, or begin. Raises OSError."""
        remove(f"{self._reserve}.new")  # of one that was killed while it made the reserve
        if not os.path.exists(self._reserve) and free(self._folder) >= BACK:
            make_reserve(self._reserve)
        here = os.path.exists(self._reserve)
        self._become(min(wanted(ROOMY, free(self._folder)), SHORT) if here else FULL)

    def poll(self) -> None:
        """Raises OSError."""
        to = wanted(self.level, free(self._folder))
        self._looks = self._looks + 1 if to == self._seen else 1
        self._seen = to
        if to > ROOMY and self.level == ROOMY:
            self._become(SHORT)  # at once: it only keeps others from handing over to this node
        elif to != self.level and self._looks >= LOOKS:
            self._become(to)
        elif to == self.level == FULL and time.monotonic() >= self._ask_at:
            self._hand_over()
        if time.monotonic() >= self._tell_at:
            self._tell()

    def _become(self, level: int) -> None:
        if level == FULL:
            remove(self._reserve)
            sync(self._folder)
        elif self.level == FULL:
            make_reserve(self._reserve)
        self.level = level
        print(("there is room", f"fewer than {TIGHT // MIB} MiB are free", "full")[level], flush=True)
        self._tell()
        if level == FULL:
            self._hand_over()
            with open(self._full, "w"):
                pass
        else:
            remove(self._full)

    def _tell(self) -> None:
        self._tell_at = time.monotonic() + (PUBLISH_S if self._board.tell(self.level) else ASK_S)

    def _hand_over(self) -> None:
        """If this node leads and another one has room."""
        self._ask_at = time.monotonic() + ASK_S
        try:
            candidate = successor(self._patroni.cluster(), self._board.roomy(), self._node)
            if candidate:
                print(f"asks Patroni for a switchover to {candidate}", flush=True)
                self._ask_at = time.monotonic() + AGAIN_S
                print(f"Patroni: {self._patroni.switch_over(self._node, candidate)}", flush=True)
        except (ApiError, ValueError, LookupError, TypeError) as error:
            print(f"no switchover: {error!r}", flush=True)


def main(config: dict[str, Any]) -> None:
    patroni = Patroni(Endpoint(**config["patroni"]))
    board = Board(Endpoint(**config["dcs"]), config["keys"], config["node"])
    room = Room(config["node"], patroni, board, config["reserve"], config["full"])
    room.start()
    print("watching", flush=True)
    while True:
        started = time.monotonic()
        try:
            room.poll()
        except OSError as error:
            print(f"no reading: {error}", flush=True)
            time.sleep(1)
        time.sleep(max(0.02, LOOK_S - (time.monotonic() - started)))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
