"""One clock for the whole drill: the operator's. Each node is asked for its time, to relate its clock to this one.

This is Cristian's algorithm. The question is sent at `sent` and the answer with the node's time arrives at `received`.
The node read its clock in between, so the offset is known within half the round trip. Of several answers, the one with
the shortest round trip is kept. In the lab, all nodes share the host's clock, and the offset is 0 within that
uncertainty. A clock that is stepped during a drill is not noticed; NTP slews by at most 0.5 ms per second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeClock:
    """`offset`: seconds that the node's clock is ahead, within plus or minus `uncertainty` seconds."""

    offset: float
    uncertainty: float

    def drill_time(self, node_time: float, began: float) -> float:
        """Seconds since `began` (operator's clock, Unix seconds) of a time read on the node."""
        return node_time - self.offset - began


@dataclass(frozen=True, slots=True)
class Sample:
    """One question for the time. All values are Unix seconds; `answered` is by the node's clock."""

    sent: float
    answered: float
    received: float


def estimate(samples: Iterable[Sample]) -> NodeClock:
    """The relation from the sample with the shortest round trip. Raises ValueError without any sample."""
    best = min(samples, key=lambda sample: sample.received - sample.sent, default=None)
    if best is None:
        raise ValueError("expected at least one clock sample")
    middle = (best.sent + best.received) / 2
    return NodeClock(best.answered - middle, (best.received - best.sent) / 2)
