"""Hands the lead over when the disk is full (`tercet-room.service`, database nodes, as root).

If its disk is full, PostgreSQL refuses statements that need a new page (53100), and panics when it needs a new WAL
segment. Its recovery then fails for the same reason, again and again. Patroni sees a primary that runs or starts, and
keeps the leader key, so no write is possible while the disk is full. So this program checks the free space:

- A node keeps a reserve: a file of RESERVE bytes next to the data. A node without a reserve is full. The file is the
  state, so this program has nothing else to remember across a restart.
- If fewer than FLOOR bytes are free in LOOKS polls in a row, the node is full, and the reserve is removed. Its space
  allows PostgreSQL to finish its recovery or shut down, and Patroni to write its files, even if the disk was completely
  full. One poll is not enough: a query may fill the disk with temporary files and then fail, which frees the space.
- A full primary asks its Patroni for a switchover to a standby that streams and has at least TIGHT bytes free. Patroni
  judges that standby as in every switchover. All nodes have the same data, so disks of the same size fill up together.
  If FLOOR were enough to take over, every node would become primary once.
- Each node reports how much room it has in its own key in `dcs`. Patroni's tags are not used for this: Patroni reads
  them only with the rest of its configuration, and then rewrites PostgreSQL's configuration, which would end up empty
  on a full disk.
- While a primary is full, tercet-strict refuses writes on it (25006; the file `full` tells it), so that WAL does not
  use up the reserve. If no standby has room, the primary stays as it is, without a switchover.
- If there is room for the reserve and twice FLOOR in LOOKS polls in a row, the reserve is made again. The node is then
  a normal standby, or a primary that accepts writes. It does not ask to become primary again.

Polls are counted instead of seconds, so a pause of this program has no effect. A poll that fails is not counted.

Not covered: if other files fill the disk and then the space of the reserve, PostgreSQL has no room left. WAL on a full
standby also uses up that space in time; the standby then stops streaming until there is room.

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
ASK_S = 1.0  # seconds between two questions to Patroni
AGAIN_S = 5.0  # seconds between two requests for a switchover
API_S = 2.0
SWITCH_S = 5.0  # a switchover takes 1 to 2 s
PUBLISH_S = 10.0  # seconds; reported again in case `dcs` lost its data

# How much room there is.
ROOMY, SHORT, FULL = range(3)
WORDS = ("roomy", "short", "full")


def free(folder: str) -> int:
    """Bytes that PostgreSQL could still write there, without the space reserved for root. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def wanted(level: int, left: int) -> int:
    """The new level of a node that now has `level` and `left` bytes free."""
    if level == FULL:
        return FULL if left < BACK else SHORT
    if left < TIGHT:
        return FULL if left < FLOOR else SHORT
    return ROOMY if left >= TIGHT + FLOOR else level


def make_reserve(path: str) -> None:
    """Make the reserve of bytes that no file system can compress. Raises OSError, and then leaves no file."""
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
    """Remove the file. Returns False if it does not exist."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def sync(folder: str) -> None:
    """Sync the folder: a file system may free the space of a removed file only when the removal is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Board:
    """Where the nodes tell each other how much room they have."""

    def __init__(self, dcs: Endpoint, keys: str, node: str) -> None:
        self._agent, self._keys, self._node = Api(dcs, keep=True), keys, node

    def tell(self, level: int) -> bool:
        """Whether the report is stored, so that the others can read it."""
        try:
            path = f"/v1/kv/{self._keys}/{self._node}"
            return self._agent.ask("PUT", path, WORDS[level].encode(), timeout=API_S).status == 200
        except ApiError:
            return False

    def roomy(self) -> set[str]:
        """The nodes that report this. Raises ApiError, ValueError, LookupError."""
        found = self._agent.ask("GET", f"/v1/kv/{self._keys}/?recurse&consistent", timeout=API_S).json() or []
        words = {one["Key"].rpartition("/")[2]: base64.b64decode(one["Value"] or "").decode() for one in found}
        return {node for node, word in words.items() if word == WORDS[ROOMY]}


class Patroni:
    """The node's own."""

    def __init__(self, at: Endpoint) -> None:
        self._api = Api(at, headers=JSON)

    def cluster(self) -> dict[str, Any]:
        """Its view of the cluster. Raises ApiError, TypeError, ValueError."""
        return dict(self._api.ask("GET", "/cluster", timeout=API_S).json())

    def switch_over(self, leader: str, candidate: str) -> str:
        """Ask for the switchover, and return Patroni's answer. Raises ApiError."""
        body = json.dumps({"leader": leader, "candidate": candidate}).encode()
        return self._api.ask("POST", "/switchover", body, timeout=SWITCH_S).text()


def successor(cluster: dict[str, Any], roomy: set[str], node: str) -> str:
    """The standby to which `node` can hand over: of those with room, the one with the least lag. "" if there is none,
    if `node` does not lead, or while Patroni is paused, because then a person works on the cluster.
    """
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
    """The state between two polls."""

    def __init__(self, node: str, patroni: Patroni, board: Board, reserve: str, full: str) -> None:
        self._node, self._patroni, self._board = node, patroni, board
        self._reserve, self._full = reserve, full
        self._folder = os.path.dirname(reserve)
        self._seen, self._looks = ROOMY, 0  # the level that the last polls gave, and their number in a row
        self._tell_at = self._ask_at = 0.0
        self.level = ROOMY

    def start(self) -> None:
        """Continue where an earlier process stopped, or begin. Raises OSError."""
        remove(f"{self._reserve}.new")  # left by a process that was killed while it made the reserve
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
            self._become(SHORT)  # at once, because it only keeps others from handing over to this node
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
        """Ask for a switchover if this node leads and another one has room."""
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
