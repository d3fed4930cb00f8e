"""How far the WAL of each database node reaches, and what would be lost if one of them became the leader.

Needed when `dcs`, which knew this, has lost its data. Two nodes share their WAL up to the point where their timelines
diverge, or up to the end of the shorter one. WAL of a node after the point that it shares with the leader is lost when
the node follows the leader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from tercet.components.patroni.component import BIN, DATA
from tercet.converge.component import Readings
from tercet.converge.requests import Exec
from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role

PROBE_S = 120.0  # seconds; the program on the node gives up sooner, see nodeside/wal.py
SOURCE = files("tercet.nodeside").joinpath("wal.py")


@dataclass(frozen=True, slots=True)
class Reach:
    """One database node. `end` is the position after its last complete WAL record, in bytes. `switches` has the
    timelines before its own, each with the position where it ended. `committed` is the time of the last commit since
    its last checkpoint, or "" if there was none.
    """

    node: str
    system: str
    timeline: int
    end: int
    switches: tuple[tuple[int, int], ...] = ()
    running: bool = False
    standby: bool = True
    committed: str = ""

    def until(self, timeline: int, end: int) -> Reach:
        """Its state when it was on that timeline, which it left at `end` or later."""
        ends = dict(self.switches) | {self.timeline: self.end}
        before = tuple(switch for switch in self.switches if switch[0] < timeline)
        return replace(self, timeline=timeline, end=ends.get(timeline, end), switches=before)

    @property
    def writes(self) -> bool:
        """Whether PostgreSQL runs there as a primary."""
        return self.running and not self.standby


@dataclass(frozen=True, slots=True)
class Databases:
    """All database nodes: those that hold data, those that are empty, and why the others could not be read."""

    reaches: tuple[Reach, ...]
    empty: tuple[str, ...] = ()
    silent: dict[str, str] = field(default_factory=dict)

    def of(self, node: str) -> Reach:
        """The named node. Raises TercetError if it has no data that can be read."""
        for reach in self.reaches:
            if reach.node == node:
                return reach
        names = ", ".join(reach.node for reach in self.reaches) or "none"
        why = "it is empty" if node in self.empty else self.silent.get(node, "it is not a database node")
        raise TercetError(f"{node} cannot lead: {why}. Nodes whose data can be read: {names}")

    def best(self) -> Reach:
        """The newest timeline's running primary, because it writes the WAL, or else the node with the most WAL."""
        if not self.reaches:
            raise TercetError("no database node that can be reached holds data: start one that does, then try again")
        return max(self.reaches, key=lambda reach: (reach.timeline, reach.writes, reach.end))

    def lost(self, leader: Reach) -> dict[str, int]:
        """For each other node the number of bytes of WAL that would be lost if `leader` leads.

        It is 0 for a standby of a running primary, which may seem to be ahead because it was read a moment later.
        """
        others = [reach for reach in self.reaches if reach.node != leader.node]
        follow = {reach.node for reach in others if leader.writes and reach.timeline == leader.timeline}
        return {reach.node: 0 if reach.node in follow else reach.end - shared(leader, reach) for reach in others}

    def unsure(self, platform: Platform) -> str | None:
        """The reason why an acknowledged write may be only on nodes that were not read; None if this is impossible.

        A write is acknowledged when the primary and `confirming` standbys have it.
        """
        databases = len(platform.of(Role.DB))
        needed = max(databases - platform.confirming, databases // 2 + 1)
        if len(self.reaches) >= needed:
            return None
        return f"the data of {len(self.reaches)} of {databases} database nodes could be read, {needed} are needed"


def shared(one: Reach, other: Reach) -> int:
    """The position up to which both have the same WAL."""
    ends, others = dict(one.switches) | {one.timeline: one.end}, dict(other.switches) | {other.timeline: other.end}
    place = 0
    for timeline in sorted(ends.keys() & others.keys()):
        place = min(ends[timeline], others[timeline])
        if ends[timeline] != others[timeline]:
            break
    return place


def probe() -> Exec:
    """Ask a database node for its reach."""
    return Exec(("python3", "-I", "-", DATA, BIN), stdin=SOURCE.read_bytes(), timeout=PROBE_S)


def survey_of(readings: Readings, databases: Sequence[str], question: str) -> Databases:
    """The nodes' answers to `probe`. Raises TercetError if the nodes have data of different clusters."""
    reaches, empty, silent = [], [], {}
    for node in databases:
        answer = readings.get(node, question)
        said = answer.json()
        if not isinstance(said, dict):
            silent[node] = readings.silence(node) or answer.why()
        elif said["data"]:
            reaches.append(_reach(node, said))
        else:
            empty.append(node)
    if len({reach.system for reach in reaches}) > 1:
        found = ", ".join(f"{reach.node} has {reach.system}" for reach in reaches)
        raise TercetError(
            f"expected the data of one cluster on all database nodes, found: {found}. Move the data of those that are "
            f"not of this platform aside ({DATA}), then try again"
        )
    return Databases(tuple(reaches), tuple(empty), silent)


def _reach(node: str, said: dict[str, Any]) -> Reach:
    switches = []
    for line in said["history"].splitlines():
        fields = line.split("\t")
        if len(fields) >= 2 and fields[0].strip().isdigit():
            high, _, low = fields[1].partition("/")
            switches.append((int(fields[0]), int(high, 16) << 32 | int(low, 16)))
    place = (said["system"], said["timeline"], said["end"], tuple(switches))
    return Reach(node, *place, said["running"], said["standby"], said.get("committed", ""))


def lsn(position: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
