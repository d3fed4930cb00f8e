"""The data from which a promise is judged if the journal alone is enough. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tercet.drills import journal
from tercet.drills.judge.history import History
from tercet.drills.promise import Promises

READ_ONLY_SQLSTATE = "25006"


@dataclass(frozen=True, slots=True)
class Phases:
    """When the faults were made and healed, in seconds of the drill; if they were not, the end of the drill."""

    injecting: float
    injected: float
    healing: float
    healed: float
    end: float


@dataclass(frozen=True)
class Case:
    """The data from which promises are judged. `down`: the sites that the fault hit."""

    history: History
    records: Sequence[journal.Record]
    phases: Phases
    down: frozenset[str]
    truth: str  # the node that is primary at the end
    reads_budget: float


Answer = tuple[bool, str]
"""Whether the promise holds, and what was seen."""

journaled: Promises[Callable[[Case], Answer]] = Promises("tercet.drills.judge.promises")


def phases_of(faults: Sequence[journal.Fault], end: float) -> Phases:
    """The phases of a drill with these fault entries. The healing begins when no further fault is made."""

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
    """Judge one promise; None if the journal alone is not enough."""
    judged = journaled.get(name)
    if judged is None:
        return None
    held, detail = judged(case)
    return journal.Promise(t=case.phases.end, name=name, held=held, detail=detail)
