"""The results of `drill run` as plain data, and median and worst of several runs. A figure without an end is null,
because JSON has no infinity.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tercet.drills.judge.availability import longest
from tercet.drills.judge.checker import ANOMALIES, NOTED

if TYPE_CHECKING:
    from rich.table import Table

    from tercet.drills.journal import Worker
    from tercet.drills.judge.availability import Gap
    from tercet.drills.judge.verdict import Judged, Repeated, Result


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all runs, in seconds; infinite if it had no end."""

    name: str
    median: float
    worst: float
    budget: float | None


def spreads(repeated: Repeated) -> list[Spread]:
    """Median and worst of every figure."""
    by_name: dict[str, list[Judged]] = {}
    for result in repeated.results:
        for one in result.judged:
            by_name.setdefault(one.name, []).append(one)
    found = []
    for name, of_runs in by_name.items():
        measured = [one.measured for one in of_runs]
        found.append(Spread(name, statistics.median(measured), max(measured), of_runs[0].budget))
    return found


def spread_table(repeated: Repeated, width: int) -> Table:
    """The same for people."""
    from rich.text import Text  # noqa: PLC0415

    from tercet.tables import table  # noqa: PLC0415

    rows = []
    for one in spreads(repeated):
        late = one.budget is not None and one.worst > one.budget
        cells = [
            one.name,
            *(f"{value:.1f} s" if math.isfinite(value) else "never" for value in (one.median, one.worst)),
        ]
        cells.append(f"{one.budget:g} s" if one.budget else "—")
        rows.append([Text(cell, "red" if late else "") for cell in cells])
    figures = ("median", "worst", "budget")
    return table((f"seconds without, of {len(repeated.results)} runs", *figures), rows, width, right=figures)


def as_data(repeated: Repeated, asked: int) -> dict[str, object]:
    """`asked` is the number of runs that were requested. If there are fewer, an error ended them."""
    return {
        "drill": repeated.results[0].began.scenario,
        "passed": repeated.passed and len(repeated.results) == asked,
        "runs_asked": asked,
        "write_unavailability_s": {"median": _seconds(repeated.median), "worst": _seconds(repeated.worst)},
        "figures": {
            one.name: {"median_s": _seconds(one.median), "worst_s": _seconds(one.worst), "budget_s": one.budget}
            for one in spreads(repeated)
        },
        "runs": [_run(result) for result in repeated.results],
    }


def _run(result: Result) -> dict[str, object]:
    predicted, findings = result.predicted, result.findings
    return {
        "passed": result.passed,
        "reasons": list(result.reasons),
        "figures": {
            one.name: {"measured_s": _seconds(one.measured), "budget_s": one.budget, "detail": one.detail}
            for one in result.judged
        },
        "predicted": {"expected_s": predicted.expected, "bound_s": predicted.bound} if predicted else None,
        "failovers": result.failovers,
        "failovers_after_healing": _failovers_after_healing(result),
        "writes": {
            "acknowledged": findings.acknowledged,
            "failed": findings.failed,
            "unknown": findings.unknown,
            "recovered": len(findings.recovered),
            **{anomaly: len(getattr(findings, anomaly)) for anomaly in (*ANOMALIES, *NOTED)},
        },
        "reads": findings.reads,
        "sites": _sites(result),
        "errors": [
            {"site": e.site, "worker": e.worker, "sqlstate": e.sqlstate, "message": e.message, "count": e.count}
            for e in findings.errors
        ],
        "promises": [{"name": one.name, "held": one.held, "detail": one.detail} for one in result.promises],
    }


def _sites(result: Result) -> list[dict[str, object]]:
    """The unavailability of each site from the fault on, including the sites that the fault hit."""
    found = [gap for gap in result.findings.gaps if gap.end > result.phases.injecting]
    stalest = {stale.site: stale.seconds for stale in result.findings.stalest}
    return [
        {
            "site": site,
            "hit": site in result.down,
            "writes_s": _without(found, site, "writer"),
            "transactions_s": _without(found, site, "transactions"),
            "reads_s": _without(found, site, "reader"),
            "stalest_read_s": _seconds(stalest.get(site, 0.0)),
        }
        for site in dict.fromkeys(node.site for node in result.began.nodes if node.site)
    ]


def _without(found: Sequence[Gap], site: str, worker: Worker) -> float | None:
    if any(not gap.recovered for gap in found if gap.site == site and gap.worker == worker):
        return None
    gap = longest(found, site, worker)
    return _seconds(gap.seconds) if gap else 0.0


def _failovers_after_healing(result: Result) -> int:
    primaries = result.history.primaries
    return sum(1 for old, new in pairwise(primaries) if new.t > result.phases.healing and new.node != old.node)


def _seconds(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
