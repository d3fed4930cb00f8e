"""The drills' figures for `make bench`: each beside its goal and beside what the running configuration predicts."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPEATS = 5  # the goals are medians of five
ALLOCATIONS = "allocations"
FAILOVERS = "failovers after the healing"


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of a drill's JSON is to be at most `most` seconds; of FAILOVERS, so many changes of the primary."""

    drill: str
    figure: str
    most: float
    name: str

    @property
    def unit(self) -> str:
        return "s" if self.figure != FAILOVERS else "times"


def goals() -> Iterator[Goal]:
    """The goals of all drills, in the order in which they are measured."""
    yield Goal("site-killed", "writes", 5, "primary's site killed: writes")
    yield Goal("site-killed", ALLOCATIONS, 20, "  its allocations run elsewhere")
    yield from _spared("site-killed")
    yield Goal("site-cut", "writes", 6, "primary's site cut off: writes")
    yield from _spared("site-cut", "healing")
    yield Goal("node-killed", "writes", 5, "primary's node killed: writes")
    yield from _spared("node-killed")
    yield Goal("postmaster-killed", "writes", 2.5, "postmaster killed: writes")
    yield from _spared("postmaster-killed")
    yield Goal("switchover", "writes", 2.5, "planned switchover: writes")
    yield from _spared("switchover")
    yield Goal("site-killed-without-primary", "writes", 1.5, "a standby's site killed: writes")
    yield from _spared("site-killed-without-primary", "healing")
    yield Goal("site-cut-without-primary", "writes", 1.5, "a standby's site cut off: writes")
    yield from _spared("site-cut-without-primary", "healing")
    yield Goal("link-cut", "healing", 1.5, "link cut: writes, from the healing on")
    yield from _spared("link-cut")
    yield Goal("link-cut-one-way", "healing", 1.5, "link cut one way: writes, from the healing on")
    yield from _spared("link-cut-one-way")
    for drill, whose in (("packet-loss", "a standby's"), ("packet-loss-at-the-primary", "the primary's")):
        yield Goal(drill, "writes", 3, f"15 % of packets lost at {whose} site: writes")
        yield Goal(drill, "reads", 3, "  reads")
    yield Goal("cold-start", "back", 30, "cold start: first write")


def _spared(drill: str, *more: str) -> Iterator[Goal]:
    """What holds for every drill that leaves sites alive; `healing` where the issue gives it a figure."""
    if "healing" in more:
        yield Goal(drill, "healing", 1.5, "  writes, from the healing on")
    yield Goal(drill, "reads", 2.5, "  reads")
    yield Goal(drill, FAILOVERS, 0, "  failovers after the healing")


@dataclass(frozen=True, slots=True)
class Measured:
    """`samples` in the goal's unit, the prediction in seconds."""

    goal: Goal
    samples: tuple[float, ...]
    expected: float | None
    bound: float | None

    @property
    def value(self) -> float:
        """The median; of failovers the most, since one is one too many."""
        return max(self.samples) if self.goal.figure == FAILOVERS else statistics.median(self.samples)

    @property
    def met(self) -> bool:
        return self.value <= self.goal.most

    def line(self) -> str:
        predicted = "" if self.expected is None else f"   predicted {self.expected:.1f}, below {self.bound:.1f}"
        spread = ", ".join(f"{sample:g}" for sample in self.samples)
        mark = "ok  " if self.met else "MISS"
        value = f"{self.value:>6.2f} {self.goal.unit:<5}"
        return f"{mark} {self.goal.name:<45} {value} goal {self.goal.most:g}{predicted}   ({spread})"


@dataclass(frozen=True, slots=True)
class Promises:
    """What the runs of a drill broke besides budgets, which are judged by the median: always a miss."""

    drill: str
    runs: int
    broken: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not self.broken

    def line(self) -> str:
        if self.met:
            return f"ok   {'  promises':<45} kept in {self.runs} of {self.runs} runs"
        return "\n".join(f"MISS {'  promises':<45} {reason}" for reason in self.broken)


def measure(run: Callable[[str, Path], str], repeats: int, folder: Path) -> list[Measured | Promises]:
    """`run` runs the drill of that name, writes its JSON to that file and returns its last words.

    Prints each figure as it is there. A run without JSON could not be made: a miss, and the others go on.
    """
    measured: list[Measured | Promises] = []
    every = list(goals())
    for drill in dict.fromkeys(goal.drill for goal in every if repeats):
        runs: list[dict[str, Any]] = []
        broken: list[str] = []
        for number in range(1, repeats + 1):
            file = folder / f"{drill}-{number}.json"
            said = run(drill, file)
            made = json.loads(file.read_text())["runs"] if file.exists() else []
            runs += made
            reasons = [reason for one in made for reason in _broken(one)] if made else [f"it did not run: {said}"]
            broken += [f"run {number}: {reason}" for reason in reasons]
        found: list[Measured | Promises] = [_measured(goal, runs) for goal in every if runs and goal.drill == drill]
        found.append(Promises(drill, len(runs), tuple(broken)))
        for one in found:
            print(one.line(), flush=True)
        measured += found
    return measured


def _measured(goal: Goal, runs: list[dict[str, Any]]) -> Measured:
    predicted = (runs[0]["predicted"] or {}) if goal.figure in ("writes", "back") else {}
    samples = tuple(_figure(one, goal.figure) for one in runs)
    return Measured(goal, samples, predicted.get("expected_s"), predicted.get("bound_s"))


def _broken(run: dict[str, Any]) -> list[str]:
    """The reasons of a run that are not about a figure, which are judged here by their median."""
    figures = tuple(f"{name}: " for name in run["figures"])
    return [reason for reason in run["reasons"] if not reason.startswith(figures)]


def _figure(run: dict[str, Any], name: str) -> float:
    if name == FAILOVERS:
        return float(run["failovers_after_healing"])
    if name != ALLOCATIONS:
        measured = run["figures"][name]["measured_s"]
        return float("inf") if measured is None else float(measured)
    detail = next(promise["detail"] for promise in run["promises"] if promise["name"] == "allocations run elsewhere")
    after = re.search(r"after ([\d.]+) s", detail)
    return float(after[1]) if after else float("inf")
