"""The verdict: what was measured against what was promised and budgeted, from the journal alone. Pure.

Only sites that the fault spared are judged; what a site that was taken from its applications went through is
reported with the promises. Transactions have the budget of writes, and a figure of their own: they come seldom, so
their last success before and first success after lie further apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tercet.drills import journal
from tercet.drills.availability import Gap
from tercet.drills.chain import Chain, chain_of
from tercet.drills.checker import Findings, check
from tercet.drills.history import History, Outcome, build
from tercet.drills.promises import Case, Phases, judge, phases_of
from tercet.drills.scenario import ExpectModel, Scenario, seconds_of
from tercet.inventory.model import BudgetsModel


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure against its budget, both in seconds; no budget: reported, not judged."""

    name: str
    measured: float
    budget: float | None
    detail: str = ""

    @property
    def kept(self) -> bool:
        return self.budget is None or self.measured <= self.budget


@dataclass(frozen=True)
class Result:
    """One run of a drill, judged."""

    scenario: Scenario
    began: journal.Began
    history: History
    findings: Findings
    phases: Phases
    down: frozenset[str]
    judged: tuple[Judged, ...]
    failovers: int
    promises: tuple[journal.Promise, ...]
    chains: tuple[Chain, ...]  # the way out of each spared site's longest gap of writes while the fault lasted
    records: tuple[journal.Record, ...]
    predicted: journal.Predicted | None
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def main(self) -> str:
        """Name of the figure that the drill is about."""
        return "back" if self.scenario.expect.back != "unjudged" else "writes"

    @property
    def unavailable(self) -> float:
        """The drill's figure: seconds without writes at the worst spared site."""
        return next(one.measured for one in self.judged if one.name == self.main)

    @property
    def verdict(self) -> journal.Verdict:
        return journal.Verdict(t=self.phases.end, passed=self.passed, reasons=self.reasons)


def result(entries: Sequence[journal.AnyEntry], scenario: Scenario, budgets: BudgetsModel) -> Result:
    """Judge a drill's journal. Raises JournalError if it has no beginning."""
    began = next((entry for entry in entries if isinstance(entry, journal.Began)), None)
    if began is None:
        raise journal.JournalError("expected a journal that begins with `began`, found none; it is cut short")
    history = build(entries)
    end = max(entry.t for entry in entries)
    phases = phases_of(history.faults, end)
    down = frozenset(site for fault in history.faults for site in fault.sites)
    truth = history.primaries[-1].node if history.primaries else ""
    findings = check(history, truth=truth)
    records = tuple(entry for entry in entries if isinstance(entry, journal.Record))
    reads_budget = seconds_of(scenario.expect.reads, budgets) or budgets.reads
    case = Case(history, records, phases, down, truth, reads_budget)
    judged = tuple(_figures(findings.gaps, case, scenario.expect, budgets))
    promises = tuple(_promises(scenario, case, entries))
    failovers = _failovers(history, phases)
    expected = scenario.expect.failovers
    reasons = [*_anomalies(findings, truth), *_broken(judged, promises)]
    if expected is not None and failovers != expected:
        reasons.append(f"{failovers} changes of the primary, expected {expected}")
    return Result(
        scenario=scenario,
        began=began,
        history=history,
        findings=findings,
        phases=phases,
        down=down,
        judged=judged,
        failovers=failovers,
        promises=promises,
        chains=tuple(_chains(findings.gaps, records, history, phases, down)),
        records=records,
        predicted=next((entry for entry in entries if isinstance(entry, journal.Predicted)), None),
        reasons=tuple(reasons),
    )


def _figures(found: Sequence[Gap], case: Case, expect: ExpectModel, budgets: BudgetsModel) -> list[Judged]:
    phases, down = case.phases, case.down
    spared = [gap for gap in found if gap.site not in down]
    writes = [gap for gap in spared if gap.worker != "reader" and gap.end > phases.injecting]
    reads = [gap for gap in spared if gap.worker == "reader" and gap.end > phases.injecting]
    during = [(gap.seconds, gap) for gap in writes if gap.start < phases.healing]
    # A gap that the fault began may last into the healing: only what comes after counts here.
    after = [(gap.end - max(gap.start, phases.healing), gap) for gap in writes if gap.end > phases.healing]
    budget = seconds_of(expect.writes, budgets)
    figures = [
        _worst("writes", [one for one in during if one[1].worker == "writer"], budget),
        _worst("transactions", [one for one in during if one[1].worker == "transactions"], budget),
        _worst("healing", after, seconds_of(expect.healing, budgets)),
        _worst("reads", [(gap.seconds, gap) for gap in reads], seconds_of(expect.reads, budgets)),
    ]
    back = seconds_of(expect.back, budgets)
    if back is not None:
        figures.append(_back(case.history, phases, back))
    return figures


def _worst(name: str, measured: Sequence[tuple[float, Gap]], budget: float | None) -> Judged:
    if not measured:
        return Judged(name, 0.0, budget)
    seconds, gap = max(measured, key=lambda pair: pair[0])
    detail = f"{gap.worker} at {gap.site}" + ("" if gap.recovered else ", and not back when the load ended")
    # What never came back kept no budget, however short the rest of the drill was.
    return Judged(name, seconds if gap.recovered or budget is None else float("inf"), budget, detail)


def _back(history: History, phases: Phases, budget: float) -> Judged:
    first = min(
        (
            (write.ended, write.site)
            for write in history.writes
            if write.outcome is Outcome.ACKNOWLEDGED and write.attempted > phases.healing
        ),
        default=None,
    )
    if first is None:
        return Judged("back", float("inf"), budget, "no write was acknowledged any more")
    return Judged("back", first[0] - phases.healing, budget, f"first write at {first[1]}")


def _failovers(history: History, phases: Phases) -> int:
    before = [p.node for p in history.primaries if p.t <= phases.injecting][-1:]
    after = [p.node for p in history.primaries if p.t > phases.injecting]
    return sum(1 for one, other in pairwise([*before, *after]) if one != other)


def _promises(scenario: Scenario, case: Case, entries: Sequence[journal.AnyEntry]) -> list[journal.Promise]:
    asked = {entry.name: entry for entry in entries if isinstance(entry, journal.Promise)}
    # Asked in every drill, and worth a line only where it failed.
    found = [entry for name, entry in asked.items() if name == "healthy again" and not entry.held]
    for name in scenario.expect.promises:
        promise = judge(name, case) or asked.get(name)
        found.append(
            promise or journal.Promise(t=case.phases.end, name=name, held=False, detail="it was not looked at")
        )
    return found


def _chains(
    found: Sequence[Gap],
    records: Sequence[journal.Record],
    history: History,
    phases: Phases,
    down: frozenset[str],
) -> list[Chain]:
    chains: list[Chain] = []
    for site in sorted({gap.site for gap in found} - down):
        of_site = [
            gap
            for gap in found
            if gap.site == site and gap.worker == "writer" and gap.overlaps(phases.injecting, phases.healing)
        ]
        if of_site:
            gap = max(of_site, key=lambda one: one.seconds)
            before = [p.node for p in history.primaries if p.t <= gap.start]
            leads = [p.node for p in history.primaries if p.t <= gap.end]
            old, new = (before or [""])[-1], (leads or [""])[-1]
            chains.append(chain_of(gap, records, history.faults, new, old))
    return chains


def _anomalies(findings: Findings, truth: str) -> list[str]:
    counts = {
        "acknowledged writes lost": len(findings.lost),
        "writes acknowledged that no standby had": len(findings.false),
        "refused or unknown rows present": len(findings.unexpected),
        "rows present twice": len(findings.duplicated),
        "rows out of their writer's order": len(findings.reordered),
        "transactions blind to their own write": len(findings.blind),
        "statements answered by the wrong node": len(findings.misrouted),
    }
    reasons = [f"{number} {what}" for what, number in counts.items() if number]
    if not truth:
        reasons.append("nobody was primary at the end")
    if not findings.acknowledged:
        reasons.append("no write was ever acknowledged")
    return reasons


def _broken(judged: Sequence[Judged], promises: Sequence[journal.Promise]) -> list[str]:
    reasons: list[str] = []
    for one in judged:
        if one.budget is not None and not one.kept:
            took = f"{one.measured:.1f} s" if one.measured != float("inf") else "no end"
            reasons.append(f"{one.name}: {took} without, budget {one.budget:g} s ({one.detail})")
    return reasons + [f"broken: {promise.name} ({promise.detail})" for promise in promises if not promise.held]


@dataclass(frozen=True)
class Repeated:
    """Several runs of one drill. It passed if every run did."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.results)

    @property
    def median(self) -> float:
        """Seconds without writes at the worst spared site."""
        return statistics.median(one.unavailable for one in self.results)

    @property
    def worst(self) -> float:
        return max(one.unavailable for one in self.results)

    @property
    def typical(self) -> Result:
        """The run whose figure is nearest to the median: the one to look at."""
        return min(self.results, key=lambda one: abs(one.unavailable - self.median))

    @property
    def exit_code(self) -> int:
        """0: every promise and budget was kept in every run; 1: one was broken."""
        return 0 if self.passed else 1
