"""Unavailability as an application at a site experiences it: from the last success before to the first success after.

The schedule is open loop, so a silence counts only if statements were due in it, and all due statements are counted. A
gap that lasts until the end of the load is marked as not recovered; its length is then a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tercet.drills.journal import Worker
from tercet.drills.judge.history import Slot, Stream

THRESHOLD = 0.5  # seconds; shorter gaps are normal jitter on a busy machine


@dataclass(frozen=True, slots=True)
class Gap:
    """No success at `site` from `start` to `end`, in seconds of the drill; `blocked` statements were due in it."""

    site: str
    worker: Worker
    start: float
    end: float
    blocked: int
    recovered: bool = True

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def overlaps(self, start: float, end: float) -> bool:
        return self.start < end and start < self.end


def gaps(slots: Mapping[Stream, Sequence[Slot]], threshold: float = THRESHOLD) -> tuple[Gap, ...]:
    """Every gap of more than `threshold` seconds, by site, worker and time."""
    found: list[Gap] = []
    for (site, worker), of_stream in sorted(slots.items()):
        found.extend(_gaps_of(site, worker, of_stream, threshold))
    return tuple(found)


def longest(found: Sequence[Gap], site: str, worker: Worker) -> Gap | None:
    """The longest gap of a site's stream; None if there is none."""
    of_stream = [gap for gap in found if gap.site == site and gap.worker == worker]
    return max(of_stream, key=lambda gap: gap.seconds, default=None)


def _gaps_of(site: str, worker: Worker, slots: Sequence[Slot], threshold: float) -> list[Gap]:
    if not slots:
        return []
    successes = sorted(slot.succeeded for slot in slots if slot.succeeded is not None)
    load_ended = max(slot.ended for slot in slots)
    found: list[Gap] = []
    for before, after in pairwise([slots[0].scheduled, *successes, load_ended]):
        if after - before <= threshold:
            continue
        recovered = bool(successes) and after <= successes[-1]
        due = [slot for slot in slots if before <= slot.scheduled <= after and slot.succeeded != before]
        if not due:
            continue
        # After an idle time (the load was started again), a gap begins only when a statement is due.
        start = before if due[0].scheduled - before <= threshold else due[0].scheduled
        # The statement that ends the gap was not blocked if it was answered promptly.
        blocked = sum(1 for slot in due if slot.succeeded is None or slot.succeeded - slot.scheduled > threshold)
        if after - start > threshold and blocked:
            found.append(Gap(site, worker, start, after, blocked, recovered))
    return found
