"""The results of a soak: each round, and the worst figures for each kind of fault. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tercet.drills.scenario.fault import FaultModel, kinds
from tercet.drills.soak.draw import describe


@dataclass(frozen=True, slots=True)
class Round:
    """One judged round. Times in seconds; infinite if there was no end."""

    number: int
    faults: tuple[FaultModel, ...]
    survived: bool  # writes had to go on; see rules.py
    seconds: float
    gap: float  # the longest time without writes at a spared site while the faults lasted
    back: float  # from the healing until the whole platform was healthy
    acknowledged: int
    lost: int
    failovers: int
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def title(self) -> str:
        return "; ".join(describe(fault) for fault in self.faults)


@dataclass(frozen=True, slots=True)
class OfKind:
    """The rounds in which a kind of fault was drawn, alone or together with another fault."""

    kind: str
    rounds: int
    gap: float  # the worst of the rounds in which writes had to continue
    back: float
    lost: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A soak so far. `asked` is the requested number of rounds, or None if a duration was requested."""

    platform: str
    seed: int
    kinds: tuple[str, ...]
    asked: int | None
    rounds: tuple[Round, ...]
    missing: tuple[str, ...] = ()  # IDs of acknowledged writes of all rounds that are missing at the end
    audited: bool = False  # whether the table was searched for these writes

    @property
    def broken(self) -> Round | None:
        """The round that broke a promise: the last one, because it ends the soak."""
        return next((one for one in self.rounds if not one.passed), None)

    @property
    def passed(self) -> bool:
        """Whether all requested rounds were completed and none broke a promise."""
        whole = self.audited and (self.asked is None or len(self.rounds) == self.asked)
        return whole and self.broken is None and not self.missing and bool(self.rounds)

    @property
    def acknowledged(self) -> int:
        return sum(one.acknowledged for one in self.rounds)

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.rounds) + len(self.missing)

    def of_kinds(self) -> tuple[OfKind, ...]:
        """One item for each kind that was drawn."""
        return tuple(
            OfKind(
                kind,
                len(having),
                max((one.gap for one in having if one.survived), default=0.0),
                max(one.back for one in having),
                sum(one.lost for one in having),
            )
            for kind in kinds()
            if (having := [one for one in self.rounds if any(fault.kind == kind for fault in one.faults)])
        )


def as_data(summary: Summary) -> dict[str, object]:
    """The summary for `--json`. A time without an end is null."""
    return {
        "platform": summary.platform,
        "seed": summary.seed,
        "kinds_asked": list(summary.kinds),
        "rounds_asked": summary.asked,
        "passed": summary.passed,
        "acknowledged": summary.acknowledged,
        "lost": summary.lost,
        "kinds": {
            one.kind: {
                "rounds": one.rounds,
                "worst_gap_s": _seconds(one.gap),
                "worst_back_to_health_s": _seconds(one.back),
                "lost": one.lost,
            }
            for one in summary.of_kinds()
        },
        "rounds": [
            {
                "round": one.number,
                "faults": [describe(fault) for fault in one.faults],
                "writes_had_to_go_on": one.survived,
                "passed": one.passed,
                "reasons": list(one.reasons),
                "seconds": _seconds(one.seconds),
                "gap_s": _seconds(one.gap),
                "back_to_health_s": _seconds(one.back),
                "acknowledged": one.acknowledged,
                "lost": one.lost,
                "failovers": one.failovers,
            }
            for one in summary.rounds
        ],
    }


def as_rows(summary: Summary) -> Sequence[tuple[str, ...]]:
    """Rows of text: kind, rounds, worst gap, worst time back to health, lost writes. The last row is for all kinds."""
    rows = [(one.kind, str(one.rounds), said(one.gap), said(one.back), str(one.lost)) for one in summary.of_kinds()]
    gap = max((one.gap for one in summary.rounds if one.survived), default=0.0)
    back = max((one.back for one in summary.rounds), default=0.0)
    return [*rows, ("all", str(len(summary.rounds)), said(gap), said(back), str(summary.lost))]


def said(seconds: float) -> str:
    return f"{seconds:.1f} s" if math.isfinite(seconds) else "never"


def _seconds(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
