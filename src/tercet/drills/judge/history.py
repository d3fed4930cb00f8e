"""A drill's journal as a history: each write with its outcome, each read, each slot of the schedule.

Invariant: every attempt has exactly one outcome. An attempt without a recorded outcome is `UNKNOWN`, for example after
the load's own node died.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from tercet.drills import journal

E = TypeVar("E", bound=journal.Entry)


class WriteOutcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # definitely not committed
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """One row that an application tried to write. Times in seconds of the drill."""

    id: str
    site: str
    worker: journal.Worker
    writer: str
    seq: int
    scheduled: float
    attempted: float
    outcome: WriteOutcome
    ended: float  # when the outcome was known; for a write without a recorded outcome, when it was attempted
    node: str = ""  # address of the PostgreSQL that acknowledged it
    warning: str = ""
    first_node: str = ""
    read_node: str = ""
    saw_own: bool = True


@dataclass(frozen=True, slots=True)
class Slot:
    """One due statement of the schedule. `succeeded` is the time of its success; None if it had none."""

    scheduled: float
    ended: float
    succeeded: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row in the table at the end. `written_at` is by the primary's clock, in seconds of the drill."""

    id: str
    writer: str
    seq: int
    written_at: float


Stream = tuple[str, journal.Worker]  # (site, worker)


@dataclass(frozen=True)
class History:
    """Everything that the load saw, and the table at the end of the drill."""

    writes: tuple[Write, ...]
    reads: tuple[journal.Read, ...]
    failures: tuple[journal.Failed | journal.Unknown, ...]
    slots: Mapping[Stream, tuple[Slot, ...]]  # by schedule
    rows: Mapping[str, tuple[Row, ...]]  # by the node that was asked
    routes: Mapping[str, tuple[journal.Route, ...]]  # by site, in time
    primaries: tuple[journal.Primary, ...]
    faults: tuple[journal.Fault, ...]
    nodes: Mapping[str, journal.NodeOf]  # by address
    lost_loads: Mapping[str, tuple[float, ...]]  # site → when its load was lost
    clock_error: float  # seconds by which the time of any node may be wrong


def build(entries: Iterable[journal.AnyEntry]) -> History:
    """The history of these entries, which may be in any order."""
    entries = list(entries)
    reads = sorted(_of(entries, journal.Read), key=lambda entry: entry.t)
    faults = sorted(_of(entries, journal.Fault), key=lambda entry: entry.t)
    primaries = sorted(_of(entries, journal.Primary), key=lambda entry: entry.t)
    failures: list[journal.Failed | journal.Unknown] = [
        *_of(entries, journal.Failed),
        *_of(entries, journal.Unknown),
    ]
    began = next(iter(_of(entries, journal.Began)), None)
    return History(
        writes=tuple(_writes(entries)),
        reads=tuple(reads),
        failures=tuple(sorted(failures, key=lambda entry: entry.t)),
        slots=_slots(entries),
        rows=_rows(entries),
        routes=_routes(entries),
        primaries=tuple(primaries),
        faults=tuple(faults),
        nodes={node.address: node for node in began.nodes} if began else {},
        lost_loads=_lost_loads(entries),
        clock_error=max((abs(clock.offset) + clock.uncertainty for clock in _of(entries, journal.Clock)), default=0.0),
    )


def _lost_loads(entries: list[journal.AnyEntry]) -> dict[str, tuple[float, ...]]:
    lost: dict[str, tuple[float, ...]] = {}
    for entry in sorted(_of(entries, journal.Ended), key=lambda entry: entry.t):
        if entry.reason not in ("finished", "stopped"):
            lost[entry.site] = (*lost.get(entry.site, ()), entry.t)
    return lost


def _of(entries: Iterable[journal.Entry], kind: type[E]) -> list[E]:
    return [entry for entry in entries if isinstance(entry, kind)]


def _writes(entries: list[journal.AnyEntry]) -> list[Write]:
    writes: dict[str, Write] = {}
    for attempt in _of(entries, journal.Attempt):
        writes[attempt.id] = Write(
            attempt.id,
            attempt.site,
            attempt.worker,
            attempt.writer,
            attempt.seq,
            attempt.scheduled,
            attempt.t,
            WriteOutcome.UNKNOWN,
            attempt.t,
        )
    for entry in entries:
        if isinstance(entry, journal.Acknowledged):
            writes[entry.id] = replace(
                _attempted(writes, entry),
                outcome=WriteOutcome.ACKNOWLEDGED,
                ended=entry.t,
                node=entry.node,
                warning=entry.warning,
                first_node=entry.first_node,
                read_node=entry.read_node,
                saw_own=entry.saw_own,
            )
        elif isinstance(entry, journal.Unknown):
            writes[entry.id] = replace(_attempted(writes, entry), ended=entry.t)
        elif isinstance(entry, journal.Failed) and entry.id:
            writes[entry.id] = replace(_attempted(writes, entry), outcome=WriteOutcome.FAILED, ended=entry.t)
    return sorted(writes.values(), key=lambda write: (write.scheduled, write.writer))


def _attempted(writes: Mapping[str, Write], entry: journal.Acknowledged | journal.Unknown | journal.Failed) -> Write:
    known = writes.get(entry.id)
    if known is not None:
        return known
    return Write(
        entry.id,
        entry.site,
        entry.worker,
        entry.writer,
        entry.seq,
        entry.scheduled,
        entry.scheduled,
        WriteOutcome.UNKNOWN,
        entry.t,
    )


def _slots(entries: list[journal.AnyEntry]) -> dict[Stream, tuple[Slot, ...]]:
    slots: dict[Stream, list[Slot]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, journal.Acknowledged | journal.Read):
            slots[entry.site, entry.worker].append(Slot(entry.scheduled, entry.t, entry.t))
        elif isinstance(entry, journal.Failed | journal.Unknown | journal.Missed):
            slots[entry.site, entry.worker].append(Slot(entry.scheduled, entry.t, None))
    return {
        stream: tuple(sorted(of_stream, key=lambda slot: (slot.scheduled, slot.ended)))
        for stream, of_stream in slots.items()
    }


def _rows(entries: list[journal.AnyEntry]) -> dict[str, tuple[Row, ...]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for table in _of(entries, journal.Table):
        rows[table.node].extend(Row(id_, table.writer, seq, written_at) for seq, id_, written_at in table.rows)
    return {node: tuple(of_node) for node, of_node in rows.items()}


def _routes(entries: list[journal.AnyEntry]) -> dict[str, tuple[journal.Route, ...]]:
    routes: dict[str, list[journal.Route]] = defaultdict(list)
    for route in sorted(_of(entries, journal.Route), key=lambda entry: entry.t):
        routes[route.site].append(route)
    return {site: tuple(of_site) for site, of_site in routes.items()}
