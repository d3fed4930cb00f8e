"""README's table of evidence says what the committed results say, and nothing that nobody measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tercet.drills.scenario.file import built_in

ROOT = Path(__file__).parent.parent


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module("evidence")


def results(folder: Path, name: str = "one", when: str = "2026-01-02T03:04:05+00:00", **changed: Any) -> None:
    """A file as bench/run.py writes it."""
    figure = {"drill": "site-killed", "figure": "writes", "samples": [2.0, 9.04, 3.0]}
    promises = {"drill": "site-killed", "name": "promises", "runs": 3, "met": True, "broken": []}
    drills = [{**figure, **changed.get("figure", {})}, {**promises, **changed.get("promises", {})}]
    machine = {"cpu": "A CPU", "cores": 2, "memory_gb": 8.2, "kernel": "6.1.0"}
    data = {"when": when, "machine": machine, "other_programs_cores": 0.05, "figures": [], "drills": drills}
    (folder / f"{name}.json").write_text(json.dumps(data))


def rendered(evidence: ModuleType, folder: Path) -> list[str]:
    return str(evidence.render(evidence.load(folder))).splitlines()


def test_readme_has_what_the_committed_results_say(evidence: ModuleType) -> None:
    text = evidence.README.read_text()
    assert text == evidence.replaced(text, evidence.render(evidence.load(evidence.RESULTS))), "run bench/evidence.py"


def test_every_row_is_of_a_drill_that_exists(evidence: ModuleType) -> None:
    assert {row.drill for row in evidence.ROWS} <= set(built_in())


def test_what_nobody_measured_has_no_figure(evidence: ModuleType, tmp_path: Path) -> None:
    lines = rendered(evidence, tmp_path)
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(evidence.ROWS)
    assert all(line.endswith("| not measured yet | not measured yet | 0 | not measured yet |") for line in rows)
    assert lines[-1] == "No results are committed yet: `make bench` measures them."


def test_median_worst_runs_machine_and_date(evidence: ModuleType, tmp_path: Path) -> None:
    results(tmp_path)
    lines = rendered(evidence, tmp_path)
    assert lines[2].endswith("| without an acknowledged write | 3.0 | 9.0 | 3 | 0 |")
    assert lines[3].endswith("| not measured yet | not measured yet | 0 | not measured yet |")
    assert lines[-1] == (
        "Measured on 2026-01-02 on A CPU, 2 cores, 8.2 GB of memory, Linux 6.1.0, while other programs took 0.05 cores "
        "([bench/results/one.json](bench/results/one.json))."
    )


def test_an_outage_without_an_end_is_not_hidden(evidence: ModuleType, tmp_path: Path) -> None:
    results(tmp_path, figure={"samples": [2.0, None, 3.0]})
    assert "| 3.0 | no end | 3 | 0 |" in rendered(evidence, tmp_path)[2]


@pytest.mark.parametrize(
    ("promises", "said"),
    [
        ({"met": False, "broken": ["run 1: …", "run 3: …"], "lost": 4}, "4"),
        ({"met": False, "broken": ["run 1: …", "run 3: …"]}, "not counted"),
        ({"met": False, "broken": ["run 1: …", "run 3: …"], "lost": 0}, "0"),
    ],
)
def test_lost_writes_and_broken_promises_are_told(
    evidence: ModuleType, tmp_path: Path, promises: dict[str, Any], said: str
) -> None:
    results(tmp_path, promises=promises)
    assert rendered(evidence, tmp_path)[2].endswith(f"| 3, 2 promises broken | {said} |")


def test_a_row_is_the_newest_file_s_that_has_it(evidence: ModuleType, tmp_path: Path) -> None:
    results(tmp_path, "a", "2026-03-01T00:00:00+00:00", figure={"samples": [1.0]})
    results(tmp_path, "b", "2026-02-01T00:00:00+00:00", figure={"samples": [2.0]})
    results(tmp_path, "c", "2026-04-01T00:00:00+00:00", figure={"drill": "site-cut", "samples": [5.0]})
    lines = rendered(evidence, tmp_path)
    assert "| 1.0 | 1.0 | 1 | 0 |" in lines[2]
    assert [line.split(" on ")[1] for line in lines if line.startswith("Measured")] == ["2026-03-01", "2026-04-01"]


def test_a_file_of_another_shape_is_refused_by_name(evidence: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"machine": {}, "drills": []}')
    with pytest.raises(evidence.EvidenceError, match=r"old\.json: expected .*`when`"):
        evidence.load(tmp_path)


@pytest.mark.parametrize("text", ["nothing", "{END} {BEGIN}", "{BEGIN} {BEGIN} {END}", "{BEGIN}"])
def test_a_readme_without_the_markers_is_refused(evidence: ModuleType, text: str) -> None:
    with pytest.raises(evidence.EvidenceError, match="once each"):
        evidence.replaced(text.format(BEGIN=evidence.BEGIN, END=evidence.END), "table")
