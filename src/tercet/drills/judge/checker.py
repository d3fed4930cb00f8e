"""The checker: finds in a history what the platform did to the data. Pure.

Definitions (Jepsen's and CloudNativePG's terms)
- lost: acknowledged, and not in the table. Must never happen.
- false: acknowledged together with a warning that no standby has it.
- recovered: outcome unknown, and in the table. This is normal after a failure.
- unexpected: definitely refused, or never attempted, but in the table.
- duplicated: one id in more than one row.
- reordered: a row that was written before a row that its writer had seen acknowledged earlier. Judged by written_at,
  within the error of the clocks.
- vanished: a read saw the row, but it is not in the table.
- backwards: of two reads of one site, answered by the same node, the later one saw less.
- blind: a transaction did not see the row that it had just written.
- misrouted: answered by another node than the one to which the site's reads (or all writes) belonged at the time.
- split: a transaction read, before its first write, at another node than the one where it wrote.
- staleness of a read: the age of the oldest acknowledged write that it did not see, from the acknowledgement of that
  write to the moment when the read was sent. 0 if the read saw all of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

from tercet.drills.journal import Primary, Read, Route
from tercet.drills.judge.availability import Gap, gaps
from tercet.drills.judge.history import History, Row, Write, WriteOutcome

T = TypeVar("T", Route, Primary)


@dataclass(frozen=True, slots=True)
class Misrouted:
    """`node` is the name (or the unknown address) of the node that answered, `expected` are those that should have."""

    what: str  # "read" or "write"
    site: str
    t: float
    node: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """The stalest read of a site: `seconds` behind, at drill second `t`, answered by `node`."""

    site: str
    seconds: float
    t: float
    node: str


@dataclass(frozen=True, slots=True)
class ErrorCount:
    site: str
    worker: str
    sqlstate: str  # empty if no server answered
    message: str  # numbers and addresses are replaced
    count: int


ANOMALIES = {
    "lost": "acknowledged writes lost",
    "false": "writes acknowledged that no standby had",
    "unexpected": "refused or unknown rows present",
    "duplicated": "rows present twice",
    "reordered": "rows out of their writer's order",
    "blind": "transactions blind to their own write",
    "misrouted": "statements answered by the wrong node",
    "split": "transactions whose first read another node answered",
}
"""Findings that fail every drill, by the field of `Findings`. One of them may be a known deviation of the proxy."""

NOTED = {
    "vanished": "rows seen by a read and gone later (never acknowledged)",
    "backwards": "reads that saw less than an earlier one of the same node",
}
"""Findings that are counted but never fail a drill, by the field of `Findings`."""


@dataclass(frozen=True)
class Findings:
    """All findings. An empty tuple means none."""

    acknowledged: int
    failed: int
    unknown: int
    reads: int
    lost: tuple[Write, ...]
    false: tuple[Write, ...]
    recovered: tuple[Write, ...]
    unexpected: tuple[Row, ...]
    duplicated: tuple[Row, ...]
    reordered: tuple[tuple[Row, Row], ...]
    vanished: tuple[tuple[str, int], ...]  # (writer, seq)
    backwards: tuple[Read, ...]
    blind: tuple[Write, ...]
    misrouted: tuple[Misrouted, ...]
    split: tuple[Write, ...]
    stalest: tuple[Stale, ...]  # one a site
    gaps: tuple[Gap, ...]
    errors: tuple[ErrorCount, ...]


# Seconds after a change of a route or primary in which an answer of the former node is not an error of the proxy,
# because the answer was under way.
GRACE = 0.25


def check(history: History, *, truth: str) -> Findings:
    """Judge a history. `truth` is the node whose table counts: the primary after healing."""
    rows = history.rows.get(truth, ())
    by_id = Counter(row.id for row in rows)
    outcomes = Counter(write.outcome for write in history.writes)
    acknowledged = [write for write in history.writes if write.outcome is WriteOutcome.ACKNOWLEDGED]
    return Findings(
        acknowledged=outcomes[WriteOutcome.ACKNOWLEDGED],
        failed=outcomes[WriteOutcome.FAILED],
        unknown=outcomes[WriteOutcome.UNKNOWN],
        reads=len(history.reads),
        lost=tuple(write for write in acknowledged if write.id not in by_id),
        false=tuple(write for write in acknowledged if _is_false(write.warning)),
        recovered=tuple(
            write for write in history.writes if write.outcome is WriteOutcome.UNKNOWN and write.id in by_id
        ),
        unexpected=tuple(_unexpected(history, rows)),
        duplicated=tuple(row for row in _first_of_each(rows) if by_id[row.id] > 1),
        reordered=tuple(_reordered(rows, {write.id for write in acknowledged}, 2 * history.clock_error)),
        vanished=tuple(_vanished(history.reads, rows)),
        backwards=tuple(_backwards(history.reads)),
        blind=tuple(write for write in acknowledged if not write.saw_own),
        misrouted=(*_misrouted_reads(history), *_misrouted_writes(history)),
        split=tuple(write for write in acknowledged if write.first_node not in ("", write.node)),
        stalest=tuple(_stalest(acknowledged, history.reads)),
        gaps=gaps(history.slots),
        errors=tuple(_errors(history)),
    )


def missing_on(history: History, node: str) -> tuple[Write, ...]:
    """The acknowledged writes that `node` does not have (a healed standby must have them all)."""
    present = {row.id for row in history.rows.get(node, ())}
    return tuple(
        write for write in history.writes if write.outcome is WriteOutcome.ACKNOWLEDGED and write.id not in present
    )


def _is_false(warning: str) -> bool:
    """PostgreSQL's warnings for a commit without confirmation by a standby; both have SQLSTATE 01000."""
    return "synchronous replication" in warning or "might not have been replicated" in warning


def _first_of_each(rows: Iterable[Row]) -> Iterable[Row]:
    return {row.id: row for row in rows}.values()


def _unexpected(history: History, rows: Sequence[Row]) -> Iterable[Row]:
    outcomes = {write.id: write.outcome for write in history.writes}
    attempts: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for write in history.writes:
        attempts[write.writer].append((write.attempted, write.seq))
    for row in rows:
        outcome = outcomes.get(row.id)
        if outcome is WriteOutcome.FAILED or (outcome is None and not _last_words(history, attempts[row.writer], row)):
            yield row


def _last_words(history: History, attempts: Sequence[tuple[float, int]], row: Row) -> bool:
    """Whether the row may be from an attempt that the load's node could not report before it died.

    Its number is between those of the attempts before and after the loss, because a load that starts again leaves a
    gap.
    """
    for lost in history.lost_loads.get(row.writer.partition("/")[0], ()):
        before = max((seq for t, seq in attempts if t <= lost), default=0)
        after = min((seq for t, seq in attempts if t > lost), default=row.seq + 1)
        if before < row.seq < after:
            return True
    return False


def _reordered(rows: Sequence[Row], acknowledged: Set[str], tolerance: float) -> Iterable[tuple[Row, Row]]:
    """Pairs (earlier acknowledged row, row of a later attempt that was written before it)."""
    latest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda one: one.seq):
        known = latest.get(row.writer)
        if known is not None and row.seq > known.seq and row.written_at < known.written_at - tolerance:
            yield known, row
        # A row of unknown outcome may have been written late, after later rows, so it does not count here.
        if row.id in acknowledged and (known is None or row.written_at > known.written_at):
            latest[row.writer] = row


def _vanished(reads: Sequence[Read], rows: Sequence[Row]) -> Iterable[tuple[str, int]]:
    present = {(row.writer, row.seq) for row in rows}
    seen = {(writer, seq) for read in reads for writer, seq in read.seen.items() if seq > 0}
    return sorted(seen - present)


def _backwards(reads: Sequence[Read]) -> Iterable[Read]:
    highest: dict[tuple[str, str, str], int] = {}
    for read in sorted(reads, key=lambda one: one.sent):
        worse = False
        for writer, seq in read.seen.items():
            key = (read.site, read.node, writer)
            worse = worse or seq < highest.get(key, 0)
            highest[key] = max(seq, highest.get(key, 0))
        if worse:
            yield read


def _misrouted_reads(history: History) -> Iterable[Misrouted]:
    for read in history.reads:
        expected = _stable(history.routes.get(read.site, ()), read.sent, read.t)
        if expected is not None and expected.reads:
            name = _name(history, read.node)
            if name not in expected.reads:
                yield Misrouted("read", read.site, read.t, name, expected.reads)


def _misrouted_writes(history: History) -> Iterable[Misrouted]:
    """A standby cannot acknowledge a write, so only the SELECTs inside transactions are checked."""
    for write in history.writes:
        if write.outcome is not WriteOutcome.ACKNOWLEDGED:
            continue
        if write.read_node and write.read_node != write.node:
            inside = _name(history, write.read_node)
            yield Misrouted("read in a transaction", write.site, write.ended, inside, (_name(history, write.node),))
        expected = _stable(history.primaries, write.attempted, write.ended)
        if expected is not None and _name(history, write.node) != expected.node:
            yield Misrouted("write", write.site, write.ended, _name(history, write.node), (expected.node,))


def _stable(changes: Sequence[T], start: float, end: float) -> T | None:
    """The value that was in force from `start` to `end` and GRACE seconds around them; None if it changed."""
    times = [change.t for change in changes]
    before = bisect_right(times, start - GRACE)
    return changes[before - 1] if before and bisect_right(times, end + GRACE) == before else None


def _name(history: History, address: str) -> str:
    node = history.nodes.get(address)
    return node.name if node else address


def _stalest(acknowledged: Sequence[Write], reads: Sequence[Read]) -> Iterable[Stale]:
    seqs, times = _acknowledgements(acknowledged)
    worst: dict[str, Stale] = {}
    for read in reads:
        behind = max((_behind(seqs, times, read, writer) for writer in read.seen), default=0.0)
        if read.site not in worst or behind > worst[read.site].seconds:
            worst[read.site] = Stale(read.site, behind, read.t, read.node)
    return [worst[site] for site in sorted(worst)]


def staleness(acknowledged: Sequence[Write], reads: Sequence[Read]) -> list[tuple[float, float]]:
    """For each read in the given order: (second of the drill of its answer, staleness in seconds)."""
    seqs, times = _acknowledgements(acknowledged)
    return [(read.t, max((_behind(seqs, times, read, writer) for writer in read.seen), default=0.0)) for read in reads]


def _acknowledgements(
    acknowledged: Sequence[Write],
) -> tuple[Mapping[str, list[int]], Mapping[str, list[float]]]:
    """By writer: the acknowledged sequence numbers in ascending order, and the time of each acknowledgement."""
    by_writer: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for write in acknowledged:
        by_writer[write.writer].append((write.seq, write.ended))
    ordered = {writer: sorted(pairs) for writer, pairs in by_writer.items()}
    seqs = {writer: [seq for seq, _ in pairs] for writer, pairs in ordered.items()}
    times = {writer: [ended for _, ended in pairs] for writer, pairs in ordered.items()}
    return seqs, times


def _behind(seqs: Mapping[str, list[int]], times: Mapping[str, list[float]], read: Read, writer: str) -> float:
    of_writer = seqs.get(writer, [])
    unseen = bisect_left(of_writer, read.seen[writer] + 1)
    if unseen == len(of_writer):
        return 0.0
    return max(0.0, read.sent - times[writer][unseen])


_VARIABLE = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|0x[0-9a-f]+|\b\d+(?:\.\d+)?\b")


def message_class(message: str) -> str:
    """The message with numbers, addresses and IDs replaced, so that similar errors are counted together."""
    return _VARIABLE.sub("N", message.strip())


def _errors(history: History) -> Iterable[ErrorCount]:
    counts = Counter(
        (failure.site, failure.worker, failure.sqlstate, message_class(failure.message)) for failure in history.failures
    )
    return [ErrorCount(*key, count) for key, count in sorted(counts.items())]
