"""What a promise is judged from, where the journal alone tells whether it holds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tercet.drills import journal
from tercet.drills.judge.history import History
from tercet.drills.promise import Promises

READ_ONLY_SQLSTATE = "25006"


@dataclass(frozen=True, slots=True)
class Phases:
    """When the faults were made and healed, in seconds of the drill; the drill's end where they were not."""

    injecting: float
    injected: float
    healing: float
    healed: float
    end: float


@dataclass(frozen=True)
class Case:
    """What promises are judged from. `down`: the sites that the fault took from their applications."""

    history: History
    records: Sequence[journal.Record]
    phases: Phases
    down: frozenset[str]
    truth: str  # the node that is primary at the end
    reads_budget: float


Answer = tuple[bool, str]
"""Whether it holds, and what was seen."""

journaled: Promises[Callable[[Case], Answer]] = Promises("tercet.drills.judge.promises")


def phases_of(faults: Sequence[journal.Fault], end: float) -> Phases:
    """The phases of a drill with these fault entries. It heals once no further fault is made."""

    def first(action: str, default: float, since: float = 0.0) -> float:
        return min((fault.t for fault in faults if fault.action == action and fault.t >= since), default=default)

    healed = [fault.t for fault in faults if fault.action in ("healed", "heal failed")]
    injecting = first("injecting", end)
    return Phases(
        injecting,
        max((fault.t for fault in faults if fault.action == "injected"), default=injecting),
        first("healing", end, max((fault.t for fault in faults if fault.action == "injecting"), default=0.0)),
        max(healed, default=end),
        end,
    )


def judge(name: str, case: Case) -> journal.Promise | None:
    """One promise; None if the journal alone cannot tell."""
    judged = journaled.get(name)
    if judged is None:
        return None
    held, detail = judged(case)
    return journal.Promise(t=case.phases.end, name=name, held=held, detail=detail)
