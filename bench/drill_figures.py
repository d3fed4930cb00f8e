"""The drills' figures for `make bench`: each beside its limit and beside what the running configuration predicts."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

RUNS = 5  # of a drill, unless it is named here
MORE_RUNS = {"site-killed": 20, "postmaster-killed": 20}
ALLOCATIONS = "allocations"
FAILOVERS = "failovers after the healing"
CHANGES = "failovers"
FAILED = "failed writes"
LONGEST = "longest gap"
COUNTED = (FAILOVERS, CHANGES, FAILED)  # figures that are numbers of times, not seconds


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of a drill's JSON, or a constant above, is to be at most `most`: the median or the worst of all runs."""

    drill: str
    figure: str
    most: float
    name: str
    of: Literal["median", "worst"] = "median"

    @property
    def unit(self) -> str:
        return "times" if self.figure in COUNTED else "s"


def goals() -> Iterator[Goal]:
    """The goals of all drills, in the order in which they are measured."""
    yield Goal("site-killed", "writes", 3, "primary's site killed: writes")
    yield Goal("site-killed", "writes", 4.5, "primary's site killed: writes", "worst")
    yield Goal("site-killed", ALLOCATIONS, 20, "  its allocations run elsewhere")
    yield from _spared("site-killed")
    yield Goal("postmaster-killed", "writes", 1.5, "postmaster killed: writes")
    yield Goal("postmaster-killed", "writes", 3, "postmaster killed: writes", "worst")
    yield from _spared("postmaster-killed")
    yield Goal("cold-start", "back", 20, "cold start: first write")
    yield Goal("disk-full", "writes", 5, "primary's disk full: writes")
    yield from _spared("disk-full")
    yield Goal("patroni-killed", FAILED, 0, "patroni killed: failed writes", "worst")
    for drill, whose in (("packet-loss", "a standby's"), ("packet-loss-at-the-primary", "the primary's")):
        yield Goal(drill, CHANGES, 0, f"15 % of packets lost at {whose} site: failovers", "worst")
        yield Goal(drill, LONGEST, 3, "  longest gap of writes, transactions or reads", "worst")
    yield Goal("standbys-lost", "refused", 5, "both standbys lost: writes are refused")
    yield Goal("site-frozen", "healthy", 12, "primary's site frozen: all healthy, from the thaw on", "worst")
    yield Goal("site-cut", "writes", 6, "primary's site cut off: writes")
    yield Goal("site-cut", "healthy", 12, "  all healthy, from the healing on", "worst")
    yield from _spared("site-cut", "healing")
    yield Goal("node-killed", "writes", 5, "primary's node killed: writes")
    yield from _spared("node-killed")
    yield Goal("switchover", "writes", 2.5, "planned switchover: writes")
    yield from _spared("switchover")
    yield Goal("site-killed-without-primary", "writes", 1.5, "a standby's site killed: writes")
    yield from _spared("site-killed-without-primary", "healing")
    yield Goal("site-cut-without-primary", "writes", 1.5, "a standby's site cut off: writes")
    yield Goal("site-cut-without-primary", "healthy", 12, "  all healthy, from the healing on", "worst")
    yield from _spared("site-cut-without-primary", "healing")
    yield Goal("site-flapping", "healthy", 12, "a standby's site flapped: all healthy, from the end on", "worst")
    yield Goal("link-cut", "healing", 1.5, "link cut: writes, from the healing on")
    yield from _spared("link-cut")
    yield Goal("link-cut-one-way", "healing", 1.5, "link cut one way: writes, from the healing on")
    yield from _spared("link-cut-one-way")


def _spared(drill: str, *more: str) -> Iterator[Goal]:
    """What holds for every drill that leaves sites alive; `healing` where the drill is about it."""
    if "healing" in more:
        yield Goal(drill, "healing", 1.5, "  writes, from the healing on")
    yield Goal(drill, "reads", 2.5, "  reads")
    yield Goal(drill, FAILOVERS, 0, "  failovers after the healing", "worst")


def drills() -> list[str]:
    """The drills that have goals, in the order in which they are measured."""
    return list(dict.fromkeys(goal.drill for goal in goals()))


@dataclass(frozen=True, slots=True)
class Measured:
    """`samples` in the goal's unit, one a run; the prediction in seconds."""

    goal: Goal
    samples: tuple[float, ...]
    expected: float | None = None
    bound: float | None = None

    @property
    def value(self) -> float:
        return max(self.samples) if self.goal.of == "worst" else statistics.median(self.samples)

    @property
    def met(self) -> bool:
        return self.value <= self.goal.most

    def line(self) -> str:
        goal, runs = self.goal, len(self.samples)
        predicted = "" if self.expected is None else f"   predicted {self.expected:.1f}, below {self.bound:.1f}"
        many = f"{min(self.samples):g} to {max(self.samples):g}, {runs} runs"
        spread = many if runs > RUNS else ", ".join(f"{sample:g}" for sample in self.samples)
        value = f"{goal.of:<6} {self.value:>6.2f} {goal.unit:<5} limit {goal.most:<4g}"
        return f"{_verdict(self.met)} {goal.name:<50} {value}{predicted}   ({spread})"

    def saved(self) -> dict[str, Any]:
        goal = self.goal
        return {
            "drill": goal.drill,
            "figure": goal.figure,
            "name": goal.name.strip(),
            "of": goal.of,
            "value": self.value,
            "limit": goal.most,
            "unit": goal.unit,
            "met": self.met,
            "samples": list(self.samples),
            "predicted": None if self.expected is None else {"expected_s": self.expected, "bound_s": self.bound},
        }


@dataclass(frozen=True, slots=True)
class Promises:
    """What the runs of a drill broke besides budgets, which are judged by the goals: always a miss."""

    drill: str
    runs: int
    broken: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not self.broken

    def line(self) -> str:
        if self.met:
            return f"{_verdict(True)} {'  promises':<50} kept in {self.runs} of {self.runs} runs"
        return "\n".join(f"{_verdict(False)} {'  promises':<50} {reason}" for reason in self.broken)

    def saved(self) -> dict[str, Any]:
        return {
            "drill": self.drill,
            "name": "promises",
            "runs": self.runs,
            "met": self.met,
            "broken": list(self.broken),
        }


def measure(
    run: Callable[[str, Path], str],
    folder: Path,
    only: Sequence[str] | None = None,
    runs: int | None = None,
    done: Callable[[list[Measured | Promises]], None] = lambda _: None,
) -> list[Measured | Promises]:
    """`run` runs the drill of that name, writes its JSON to that file and returns its last words.

    Of all drills or `only` these, each as often as it needs or `runs` times. Prints each figure as it is there, and
    gives `done` all that was found so far after each drill. A run without JSON could not be made: a miss, and the
    others go on.
    """
    measured: list[Measured | Promises] = []
    for drill in drills() if only is None else only:
        made: list[dict[str, Any]] = []
        broken: list[str] = []
        for number in range(1, (runs or MORE_RUNS.get(drill, RUNS)) + 1):
            file = folder / f"{drill}-{number}.json"
            said = run(drill, file)
            found = json.loads(file.read_text())["runs"] if file.exists() else []
            made += found
            reasons = [reason for one in found for reason in _broken(one)] if found else [f"it did not run: {said}"]
            broken += [f"run {number}: {reason}" for reason in reasons]
        of_drill: list[Measured | Promises] = [
            _measured(goal, made) for goal in goals() if made and goal.drill == drill
        ]
        of_drill.append(Promises(drill, len(made), tuple(broken)))
        for one in of_drill:
            print(one.line(), flush=True)
        measured += of_drill
        done(measured)
    return measured


def _verdict(met: bool) -> str:
    return "met   " if met else "MISSED"


def _measured(goal: Goal, runs: list[dict[str, Any]]) -> Measured:
    predicts = goal.figure in ("writes", "back") and goal.of == "median"
    predicted = (runs[0]["predicted"] or {}) if predicts else {}
    samples = tuple(_figure(one, goal.figure) for one in runs)
    return Measured(goal, samples, predicted.get("expected_s"), predicted.get("bound_s"))


def _broken(run: dict[str, Any]) -> list[str]:
    """The reasons of a run that are not about a figure, which are judged here by all runs together."""
    figures = tuple(f"{name}: " for name in run["figures"])
    return [reason for reason in run["reasons"] if not reason.startswith(figures)]


def _figure(run: dict[str, Any], name: str) -> float:
    if name == FAILOVERS:
        return float(run["failovers_after_healing"])
    if name == CHANGES:
        return float(run["failovers"])
    if name == FAILED:  # of one whose outcome is unknown the application sees an error, too
        return float(run["writes"]["failed"] + run["writes"]["unknown"])
    if name == LONGEST:
        return max(_seconds(run, each) for each in ("writes", "transactions", "healing", "reads"))
    if name == ALLOCATIONS:
        promised = (one for one in run["promises"] if one["name"] == "allocations run elsewhere")
        after = re.search(r"after ([\d.]+) s", next(promised)["detail"])
        return float(after[1]) if after else float("inf")
    return _seconds(run, name)


def _seconds(run: dict[str, Any], name: str) -> float:
    measured = run["figures"][name]["measured_s"]
    return float("inf") if measured is None else float(measured)
