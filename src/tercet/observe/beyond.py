"""Finds what only a returned node's database has: its WAL from the point where the platform went on without it.

The survivor went on from a recorded position of its timeline, and everything after that is on a new timeline. A
returned node may have a timeline with the same number, because both sides promoted a node independently. So the
returned node is compared with what the survivor had at that time, not with what it has now.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tercet.components.identity.membership import Record
from tercet.components.patroni.component import BIN, DATA
from tercet.converge.requests import Answer, Exec
from tercet.observe.reach import PROBE_S, Reach, lsn, shared

SOURCE = files("tercet.nodeside").joinpath("beyond.py")


@dataclass(frozen=True, slots=True)
class Returned:
    """A database node of a site that was lost. `reach` is None if it holds no data. `fork` is the position up to which
    it has the same WAL as the survivor, `size` the number of bytes after it, and the other fields describe these bytes.
    """

    node: str
    reach: Reach | None = None
    fork: int = 0
    size: int = 0
    commits: int = 0
    first: str = ""
    last: str = ""
    segments: tuple[str, ...] = ()
    histories: tuple[str, ...] = ()
    listing: str = ""


def parted(record: Record, survivor: Reach, reach: Reach) -> int:
    """The position up to which the returned node has the same WAL as the survivor had."""
    return shared(survivor.until(record.timeline, record.end), reach)


def ways(reach: Reach, fork: int) -> tuple[tuple[int, int], ...]:
    """The node's WAL after the position: each of its timelines with the position where it begins."""
    found, start = list[tuple[int, int]](), 0
    for timeline, end in (*reach.switches, (reach.timeline, reach.end)):
        if end > fork:
            found.append((timeline, max(start, fork)))
        start = end
    return tuple(found)


def question(reach: Reach, fork: int) -> Exec:
    """Ask the node what its WAL has after the position."""
    words = (f"{timeline}:{lsn(start)}" for timeline, start in ways(reach, fork))
    return Exec(("python3", "-I", "-", DATA, BIN, *words), stdin=SOURCE.read_bytes(), timeout=PROBE_S)


def returned(reach: Reach, fork: int, answer: Answer) -> Returned | None:
    """The node's answer to `question`; None if it did not answer."""
    said: Any = answer.json()
    if not isinstance(said, dict):
        return None
    return Returned(
        node=reach.node,
        reach=reach,
        fork=fork,
        size=max(0, reach.end - fork),
        commits=said["commits"],
        first=said["first"],
        last=said["last"],
        segments=tuple(said["segments"]),
        histories=tuple(said["histories"]),
        listing=said["listing"],
    )
