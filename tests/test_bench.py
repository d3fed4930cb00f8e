"""`make bench`: what misses a limit, and what a drill broke whatever its figures are."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tercet.drills.scenario.file import built_in


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[1] / "bench" / "drill_figures.py"
    spec = importlib.util.spec_from_file_location("drill_figures", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drill_figures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run_of(
    measured: float | None = 1.0, failovers: int = 0, reasons: tuple[str, ...] = (), failed: int = 0
) -> dict[str, Any]:
    names = ("writes", "transactions", "healing", "reads", "back", "refused", "healthy")
    return {
        "figures": {name: {"measured_s": measured} for name in names},
        "failovers": failovers,
        "failovers_after_healing": failovers,
        "writes": {"failed": failed, "unknown": 0},
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

    found: list[Any] = bench.measure(run, folder, runs=len(runs))
    return found


def missed(found: list[Any]) -> list[str]:
    return [one.line() for one in found if not one.met]


def test_every_goal_is_of_a_drill_that_exists(bench: ModuleType) -> None:
    assert {goal.drill for goal in bench.goals()} <= set(built_in())


def test_one_slow_run_of_five_is_a_miss_where_the_worst_has_a_limit_and_nowhere_else(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = run_of(99, reasons=("writes: 99.0 s without, budget 10 s (writer at sib-03)",))
    found = measure(bench, tmp_path, [run_of(), slow, run_of(), run_of(), run_of()])
    assert {(one.goal.drill, one.goal.figure) for one in found if not one.met} == {
        ("site-killed", "writes"),
        ("postmaster-killed", "writes"),
        ("packet-loss", bench.LONGEST),
        ("packet-loss-at-the-primary", bench.LONGEST),
        ("site-frozen", "healthy"),
        ("site-cut", "healthy"),
        ("site-cut-without-primary", "healthy"),
        ("site-flapping", "healthy"),
    }
    assert all(one.goal.of == "worst" for one in found if not one.met)
    assert "predicted 3.0, below 5.0   (1, 99, 1, 1, 1)" in capsys.readouterr().out


def test_a_write_that_failed_while_patroni_restarted_is_one_too_many(bench: ModuleType, tmp_path: Path) -> None:
    found = measure(bench, tmp_path, [run_of(), run_of(failed=1), run_of()])
    assert [one.goal.drill for one in found if not one.met] == ["patroni-killed"]


def test_a_part_is_run_alone_and_as_often_as_asked(bench: ModuleType, tmp_path: Path) -> None:
    asked: list[str] = []
    kept: list[int] = []

    def run(drill: str, file: Path) -> str:
        asked.append(drill)
        file.write_text(json.dumps({"runs": [run_of()]}))
        return ""

    def keep(found: list[Any]) -> None:
        kept.append(len(found))

    found = bench.measure(run, tmp_path, ["disk-full", "cold-start"], 3, keep)
    assert asked == ["disk-full"] * 3 + ["cold-start"] * 3
    assert kept == [4, len(found)]  # after each drill, so that a bench that is broken off has saved it
    saved = [one.saved() for one in found]
    assert {one["drill"] for one in saved} == {"disk-full", "cold-start"}
    assert [one for one in saved if one["name"] == "cold start: first write"] == [
        {
            "drill": "cold-start",
            "figure": "back",
            "name": "cold start: first write",
            "of": "median",
            "value": 1.0,
            "limit": 20,
            "unit": "s",
            "met": True,
            "samples": [1.0, 1.0, 1.0],
            "predicted": {"expected_s": 3.0, "bound_s": 5.0},
        }
    ]


def test_the_worst_of_twenty_is_that_of_twenty(bench: ModuleType, tmp_path: Path) -> None:
    made: list[str] = []

    def run(drill: str, file: Path) -> str:
        made.append(drill)
        return "it could not be run"

    bench.measure(run, tmp_path)
    counted = {drill: made.count(drill) for drill in made}
    assert {drill for drill, count in counted.items() if count == 20} == {"site-killed", "postmaster-killed"}


def test_the_machine_is_described() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
    try:
        machine = importlib.import_module("machine")
    finally:
        sys.path.pop(0)
    assert machine.cpu_model("processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t: fpu\n") == "AMD EPYC 7763"
    assert machine.cpu_model("processor\t: 0\nCPU implementer\t: 0x41\n") == ""
    assert {"cpu", "cores", "memory_gb", "kernel"} == set(machine.machine())
    assert 0 <= machine.busy_cores(0.05) <= machine.machine()["cores"] * 1.5


def test_no_end_in_most_runs_is_a_miss(bench: ModuleType, tmp_path: Path) -> None:
    assert any("inf s" in line for line in missed(measure(bench, tmp_path, [run_of(), run_of(None), run_of(None)])))


@pytest.mark.parametrize("reason", ["3 acknowledged writes lost", "broken: standbys complete (2 are missing)"])
def test_a_broken_promise_is_a_miss_of_its_own(bench: ModuleType, tmp_path: Path, reason: str) -> None:
    found = measure(bench, tmp_path, [run_of(), run_of(reasons=(reason,)), run_of()])
    drills = {goal.drill for goal in bench.goals()}
    assert len(missed(found)) == len(drills)
    assert all(line.startswith("MISSED") and line.endswith(f"run 2: {reason}") for line in missed(found))


def test_one_failover_after_the_healing_is_one_too_many(bench: ModuleType, tmp_path: Path) -> None:
    found = measure(bench, tmp_path, [run_of(), run_of(failovers=1), run_of()])
    assert missed(found) and all("failovers" in line for line in missed(found))


@pytest.mark.parametrize("others", [[], [1, 1]])
def test_a_drill_that_could_not_run_is_a_miss_and_the_others_go_on(
    bench: ModuleType, tmp_path: Path, others: list[int]
) -> None:
    found = measure(bench, tmp_path, [{}, *(run_of(one) for one in others)])
    assert len(missed(found)) == len({goal.drill for goal in bench.goals()})
    assert all(line.endswith("run 1: it did not run: its last words") for line in missed(found))
