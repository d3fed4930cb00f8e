"""The drills' figures for `make bench`: each beside its goal and beside what the running configuration predicts."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of a drill's JSON, or "allocations", is to be at most `seconds`."""

    drill: str
    figure: str
    seconds: float
    name: str


GOALS = (
    Goal("site-killed", "writes", 5, "primary's site killed: writes"),
    Goal("site-killed", "allocations", 20, "  its allocations run elsewhere"),
    Goal("site-killed", "reads", 2.5, "  reads"),
    Goal("site-cut", "writes", 6, "primary's site cut off: writes"),
    Goal("site-cut", "healing", 1.5, "  writes, from the healing on"),
    Goal("site-cut", "reads", 2.5, "  reads"),
    Goal("node-killed", "writes", 5, "primary's node killed: writes"),
    Goal("node-killed", "reads", 2.5, "  reads"),
    Goal("postmaster-killed", "writes", 2.5, "postmaster killed: writes"),
    Goal("postmaster-killed", "reads", 2.5, "  reads"),
    Goal("switchover", "writes", 2.5, "planned switchover: writes"),
    Goal("switchover", "reads", 2.5, "  reads"),
    Goal("link-cut", "healing", 1.5, "link cut: writes, from the healing on"),
    Goal("site-killed-without-primary", "writes", 1.5, "a standby's site killed: writes"),
    Goal("cold-start", "back", 30, "cold start: first write"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """`samples` and the prediction in seconds; `lost`: acknowledged writes that are not there."""

    goal: Goal
    samples: tuple[float, ...]
    expected: float | None
    bound: float | None
    lost: int

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool:
        return self.median <= self.goal.seconds and self.lost == 0

    def line(self) -> str:
        predicted = "" if self.expected is None else f"   predicted {self.expected:.1f}, below {self.bound:.1f}"
        spread = ", ".join(f"{sample:g}" for sample in self.samples)
        mark = "ok  " if self.met else "MISS"
        return f"{mark} {self.goal.name:<40} {self.median:>6.2f} s  goal {self.goal.seconds:g}{predicted}   ({spread})"


def measure(run: Callable[[str, Path], object], repeats: int, folder: Path) -> list[Measured]:
    """`run` runs the drill of that name and writes its JSON to that file. Prints each figure as it is there."""
    measured: list[Measured] = []
    for drill in dict.fromkeys(goal.drill for goal in GOALS if repeats):
        runs: list[dict[str, Any]] = []
        for number in range(repeats):
            file = folder / f"{drill}-{number}.json"
            run(drill, file)
            runs += json.loads(file.read_text())["runs"]
        for goal in (goal for goal in GOALS if goal.drill == drill):
            predicted = (runs[0]["predicted"] or {}) if goal.figure in ("writes", "back") else {}
            lost = sum(one["writes"]["lost"] for one in runs)
            samples = tuple(_figure(one, goal.figure) for one in runs)
            measured.append(Measured(goal, samples, predicted.get("expected_s"), predicted.get("bound_s"), lost))
            print(measured[-1].line(), flush=True)
    return measured


def _figure(run: dict[str, Any], name: str) -> float:
    if name != "allocations":
        return float(run["figures"][name]["measured_s"])
    detail = next(promise["detail"] for promise in run["promises"] if promise["name"] == "allocations run elsewhere")
    after = re.search(r"after ([\d.]+) s", detail)
    return float(after[1]) if after else float("inf")
