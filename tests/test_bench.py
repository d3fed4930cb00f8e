"""`make bench`: what a drill broke is a miss, whatever its median is."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tercet.drills.scenario_file import built_in


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[1] / "bench" / "drill_figures.py"
    spec = importlib.util.spec_from_file_location("drill_figures", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drill_figures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run_of(measured: float | None = 1.0, failovers: int = 0, reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    names = ("writes", "transactions", "healing", "reads", "back")
    return {
        "figures": {name: {"measured_s": measured} for name in names},
        "failovers_after_healing": failovers,
        "predicted": {"expected_s": 3.0, "bound_s": 5.0},
        "promises": [{"name": "allocations run elsewhere", "detail": "on apps-fsn-01, after 13.2 s"}],
        "reasons": list(reasons),
    }


def measure(bench: ModuleType, folder: Path, runs: list[dict[str, Any]]) -> list[Any]:
    """Every drill comes to these runs."""
    left: dict[str, list[dict[str, Any]]] = {}

    def run(drill: str, file: Path) -> str:
        made = left.setdefault(drill, list(runs)).pop(0)
        if made:
            file.write_text(json.dumps({"runs": [made]}))
        return "its last words"

    found: list[Any] = bench.measure(run, len(runs), folder)
    return found


def missed(found: list[Any]) -> list[str]:
    return [one.line() for one in found if not one.met]


def test_every_goal_is_of_a_drill_that_exists(bench: ModuleType) -> None:
    assert {goal.drill for goal in bench.goals()} <= set(built_in())


def test_one_slow_run_of_five_is_no_miss(bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = run_of(99, reasons=("writes: 99.0 s without, budget 10 s (writer at sib-03)",))
    found = measure(bench, tmp_path, [run_of(), slow, run_of(), run_of(), run_of()])
    assert missed(found) == []
    assert "predicted 3.0, below 5.0   (1, 99, 1, 1, 1)" in capsys.readouterr().out


def test_no_end_in_most_runs_is_a_miss(bench: ModuleType, tmp_path: Path) -> None:
    assert any("inf s" in line for line in missed(measure(bench, tmp_path, [run_of(), run_of(None), run_of(None)])))


@pytest.mark.parametrize("reason", ["3 acknowledged writes lost", "broken: standbys complete (2 are missing)"])
def test_a_broken_promise_is_a_miss_of_its_own(bench: ModuleType, tmp_path: Path, reason: str) -> None:
    found = measure(bench, tmp_path, [run_of(), run_of(reasons=(reason,)), run_of()])
    drills = {goal.drill for goal in bench.goals()}
    assert len(missed(found)) == len(drills)
    assert all(line.startswith("MISS") and line.endswith(f"run 2: {reason}") for line in missed(found))


def test_one_failover_after_the_healing_is_one_too_many(bench: ModuleType, tmp_path: Path) -> None:
    found = measure(bench, tmp_path, [run_of(), run_of(failovers=1), run_of()])
    assert missed(found) and all("failovers after the healing" in line for line in missed(found))


@pytest.mark.parametrize("others", [[], [1, 1]])
def test_a_drill_that_could_not_run_is_a_miss_and_the_others_go_on(
    bench: ModuleType, tmp_path: Path, others: list[int]
) -> None:
    found = measure(bench, tmp_path, [{}, *(run_of(one) for one in others)])
    assert len(missed(found)) == len({goal.drill for goal in bench.goals()})
    assert all(line.endswith("run 1: it did not run: its last words") for line in missed(found))
