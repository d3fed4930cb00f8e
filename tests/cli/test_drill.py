"""`drill run`: what was measured is told, however the runs end, and as JSON that every program can read."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tercet.cli.commands import drill
from tercet.cli.drill_results import as_data, spread_table
from tercet.cli.main import main
from tercet.converge.events import silent
from tercet.drills.judge.verdict import Judged, Repeated, Result
from tercet.drills.scenario.file import built_in
from tercet.drills.scenario.targets import TargetError
from tests.drills.sample import Drill, judge

NAME = "site-killed"


@pytest.fixture(scope="module")
def judged() -> Result:
    return judge(Drill().entries(), built_in()[NAME])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Result | BaseException]:
    """What the runs come to, one after the other; the platform itself is left out."""
    outcomes: list[Result | BaseException] = []

    async def run(*_: object, **__: object) -> Result:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def with_progress(_call: object, work: Callable[..., Any]) -> Any:
        return asyncio.run(work(SimpleNamespace(platform=0, provider=0, context=0, components=()), silent))

    monkeypatch.setattr("tercet.drills.run.drill.run", run)
    monkeypatch.setattr(drill, "with_progress", with_progress)
    return outcomes


def call(inventory: Path, *words: str) -> tuple[int, Any]:
    file = inventory.with_name("drill.json")
    status = main(["-f", str(inventory), "drill", "run", NAME, "--json", str(file), *words])
    return status, json.loads(file.read_text(), parse_constant=pytest.fail) if file.exists() else None


def test_median_and_worst_of_every_figure(
    inventory_file: Path, runs: list[Result | BaseException], judged: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = replace(judged, judged=tuple(replace(one, measured=one.measured + 1) for one in judged.judged))
    runs += [judged, slow, judged]
    status, data = call(inventory_file, "--repeat", "3")
    assert status == 0 and data["passed"] and len(data["runs"]) == 3
    assert set(data["figures"]) == {"writes", "transactions", "healing", "reads"}
    for figure in data["figures"].values():
        assert figure["worst_s"] == pytest.approx(figure["median_s"] + 1, abs=0.002)
    assert data["write_unavailability_s"]["worst"] == data["figures"]["writes"]["worst_s"]
    assert "seconds without, of 3 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("end", "status"), [(TargetError("the primary is there already"), 1), (KeyboardInterrupt(), 130)]
)
def test_runs_before_an_error_are_not_lost(
    inventory_file: Path,
    runs: list[Result | BaseException],
    judged: Result,
    capsys: pytest.CaptureFixture[str],
    end: BaseException,
    status: int,
) -> None:
    runs += [judged, end]
    left, data = call(inventory_file, "--repeat", "3")
    assert left == status
    assert data["passed"] is False
    assert (data["runs_asked"], len(data["runs"])) == (3, 1)
    said = capsys.readouterr()
    assert NAME in said.out
    assert ("is there already" in said.err) == (status == 1)


def test_an_error_in_the_first_run_writes_nothing(inventory_file: Path, runs: list[Result | BaseException]) -> None:
    runs.append(TargetError("no"))
    assert call(inventory_file) == (1, None)


def test_a_scenario_that_names_an_unknown_site_is_refused_before_anything(
    inventory_file: Path, runs: list[Result | BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = inventory_file.with_name("mine.yml")
    mine.write_text("name: mine\ntitle: x\npromise: y.\nfaults:\n  - kill: site sib-02\n")
    assert main(["-f", str(inventory_file), "drill", "run", str(mine)]) == 1
    assert f"tercet: {mine}:5:11: faults[0].kill: expected a site of this platform" in capsys.readouterr().err


def test_one_run_as_data(judged: Result) -> None:
    data: Any = as_data(Repeated((judged,)), 1)
    (run,) = data["runs"]
    assert [site["site"] for site in run["sites"]] == ["sib-01", "sib-03", "fsn-01"]
    assert [site["hit"] for site in run["sites"]] == [True, False, False]
    spared = run["sites"][1:]
    assert max(site["writes_s"] for site in spared) == run["figures"]["writes"]["measured_s"]
    assert all(0 <= site["stalest_read_s"] < 1 for site in spared)
    assert run["writes"]["acknowledged"] == judged.findings.acknowledged
    assert run["writes"]["recovered"] == run["writes"]["duplicated"] == run["writes"]["reordered"] == 0
    assert (run["failovers"], run["failovers_after_healing"]) == (1, 0)
    assert {"sqlstate": "58000", "worker": "writer"}.items() <= next(
        e for e in run["errors"] if e["sqlstate"] == "58000" and e["worker"] == "writer"
    ).items()


def test_what_never_came_back_is_null(judged: Result) -> None:
    gaps = tuple(replace(gap, recovered=False) for gap in judged.findings.gaps)
    endless = replace(
        judged,
        findings=replace(judged.findings, gaps=gaps),
        judged=tuple(Judged(one.name, math.inf, one.budget) for one in judged.judged),
    )
    repeated = Repeated((endless,))
    data: Any = json.loads(json.dumps(as_data(repeated, 1), allow_nan=False))
    assert data["figures"]["writes"]["worst_s"] is None
    assert data["write_unavailability_s"] == {"median": None, "worst": None}
    assert data["runs"][0]["figures"]["reads"]["measured_s"] is None
    assert data["runs"][0]["sites"][1]["writes_s"] is None
    assert "never" in list(map(str, spread_table(repeated, 80).columns[1].cells))
