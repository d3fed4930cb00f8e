"""Waits for conditions, and explains why one does not hold.

A gate ends a component's phase; verify and drills wait in the same way. Every wait has a deadline, and a condition that
passed is not asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tercet.converge.component import Condition, Readings, State, Waiting
from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Exec, Request

ROUND_S = 10.0  # seconds, the longest time for one poll; a node that hangs costs this much of the deadline
PAUSE_S = 1.0  # the longest pause between two polls, unless the caller's interval is longer
JOURNAL_LINES = 20

Questions = Mapping[str, Mapping[str, Request]]


class _Recorded(Readings):
    """Readings that record what was read from them, so that the next poll asks only for that."""

    def __init__(self, readings: Readings, left_out: set[tuple[str, str]]) -> None:
        super().__init__({}, away=readings.away)
        self._readings = readings
        self._left_out = left_out
        self.read: set[tuple[str, str]] = set()

    @property
    def complete(self) -> bool:
        """Whether everything that was read was asked this time. What can never be asked does not count."""
        return not self.read & self._left_out

    def get(self, node: str, question: str) -> Answer:
        self.read.add((node, question))
        return self._readings.get(node, question)

    def reachable(self, node: str) -> bool:
        self.read.add((node, ""))
        return self._readings.reachable(node)

    def silence(self, node: str) -> str:
        self.read.add((node, ""))
        return self._readings.silence(node)


async def wait_for(
    conditions: Iterable[Condition],
    questions: Questions,
    fleet: Fleet,
    *,
    deadline: float,
    interval: float = 0.25,
    away: frozenset[str] = frozenset(),
    go_on: Callable[[], bool] = lambda: True,
    waiting: Callable[[Condition, Waiting], None] = lambda _condition, _state: None,
) -> list[tuple[Condition, State]]:
    """Ask until every condition holds, `deadline` seconds have passed, or `go_on()` returns False.

    The first poll is immediate. Later polls ask only for what was read by conditions that do not hold yet. The pause
    between two polls is `interval` seconds, or as long as the last poll took if that is longer, but at most PAUSE_S, to
    leave starting nodes their CPU. Nodes that are `away` are not asked (see Readings). Returns each condition with its
    last state, in the given order. `waiting` is called with each new reason.
    """
    conditions = list(conditions)
    questions = {node: batch for node, batch in questions.items() if node not in away}
    states: list[State] = [Waiting("it was not asked")] * len(conditions)
    everything = {(node, name) for node, batch in questions.items() for name in ("", *batch)}
    read = [everything for _ in conditions]
    ends = time.monotonic() + deadline
    open_ = list(range(len(conditions)))
    while open_:
        wanted = set[tuple[str, str]]().union(*(read[place] for place in open_))
        began = time.monotonic()
        limit = min(max(ends - time.monotonic(), 1.0), ROUND_S)
        readings = await ask(fleet, _only(questions, wanted), timeout=limit, away=away)
        complete = True
        for place in open_:
            recorded = _Recorded(readings, everything - wanted)
            state = conditions[place].check(recorded)
            read[place] = recorded.read if recorded.complete else everything
            if not recorded.complete:
                complete = False  # the condition read more than last time, so it cannot be judged before that was asked
                continue
            if isinstance(state, Waiting) and state != states[place]:
                waiting(conditions[place], state)
            states[place] = state
        open_ = [place for place in open_ if isinstance(states[place], Waiting)]
        if not go_on() or time.monotonic() >= ends:
            break
        if open_ and complete:
            now = time.monotonic()
            pause = max(interval, min(now - began, PAUSE_S))
            await asyncio.sleep(min(pause, max(ends - now, 0.0)))
    return list(zip(conditions, states, strict=True))


def _only(questions: Questions, wanted: set[tuple[str, str]]) -> Questions:
    """The questions whose answers are wanted. A node's name without a question asks whether the node is reachable."""
    return {
        node: {name: request for name, request in batch.items() if (node, name) in wanted}
        for node, batch in questions.items()
        if any((node, name) in wanted for name in ("", *batch))
    }


async def explain(
    judged: Sequence[tuple[Condition, State]], fleet: Fleet, *, away: frozenset[str] = frozenset()
) -> str:
    """What an operator needs to know about the conditions that do not hold, as lines of text.

    Each condition has its last reason, then the state and the last journal lines of its units on nodes that are not
    `away`, and the next command to try. Empty if all conditions hold.
    """
    failed = [(condition, state.reason) for condition, state in judged if isinstance(state, Waiting)]
    if not failed:
        return ""
    units = dict.fromkeys(unit for condition, _ in failed for unit in condition.units if unit[0] not in away)
    reasons = " ".join(reason for _, reason in failed)
    return "\n".join([*(f"{c.title}: {reason}" for c, reason in failed), await explain_units(units, fleet, reasons)])


async def explain_units(units: Iterable[tuple[str, str]], fleet: Fleet, reasons: str = "") -> str:
    """State, last journal lines and next command for the units that are probably the cause: those that are not active,
    or else those on a node that `reasons` names, or else the first one.
    """
    units = list(units)
    if not units:
        return "try: tercet status"
    states = await _of_units(units, fleet, _STATE)
    down = [unit for unit in units if "ActiveState=active" not in states[unit].text]
    guilty = (down or [unit for unit in units if unit[0] in reasons] or units)[:3]
    journals = await _of_units(guilty, fleet, _JOURNAL)
    lines = []
    for node, unit in guilty:
        state = dict(line.split("=", 1) for line in states[node, unit].text.splitlines())
        found = "{ActiveState} ({SubState}, result {Result})".format_map(state) if state else states[node, unit].why()
        lines.append(f"{unit} on {node} is {found}; its journal ends:")
        lines += [f"  {line}" for line in (journals[node, unit].text or journals[node, unit].why()).splitlines()]
    node, unit = guilty[0]
    return "\n".join([*lines, f"try: tercet exec {node} -- journalctl --no-pager --lines=100 --unit={unit}"])


_STATE = ("systemctl", "show", "--property=ActiveState,SubState,Result")
_JOURNAL = ("journalctl", "--no-pager", f"--lines={JOURNAL_LINES}", "--output=short-iso", "--unit")


async def _of_units(
    units: Sequence[tuple[str, str]], fleet: Fleet, argv: tuple[str, ...]
) -> dict[tuple[str, str], Answer]:
    questions: dict[str, dict[str, Request]] = {}
    for node, unit in units:
        questions.setdefault(node, {})[unit] = Exec((*argv, unit))
    readings = await ask(fleet, questions, timeout=ROUND_S)
    return {(node, unit): readings.get(node, unit) for node, unit in units}
