"""The verdict: compares what was measured with promises and budgets, from the journal alone. Pure.

While the fault lasts, only the spared sites are judged; what happened at a hit site is reported with the promises. When
the platform is healthy again, a hit site is judged like every other.

Transactions have the budget of writes, but a separate figure: there are fewer of them, so their last success before a
gap and their first success after it are further apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tercet.drills import journal
from tercet.drills.expect import ExpectModel, seconds_of
from tercet.drills.judge.availability import Gap
from tercet.drills.judge.case import READ_ONLY_SQLSTATE, Case, Phases, judge, phases_of
from tercet.drills.judge.chain import Chain, chain_of
from tercet.drills.judge.checker import ANOMALIES, Findings, check
from tercet.drills.judge.history import History, Write, WriteOutcome, build
from tercet.inventory.model import BudgetsModel

STABLE_S = 8.0
"""Seconds after the healing before which a hit site is not judged, even if it is healthy."""
HEALTHY_AGAIN = "healthy again"
"""The name of the runner's entry when the platform is healthy again; the detail is the last condition to hold."""
LINGER_S = 3.0
"""Seconds after the platform is healthy for which an effect of the time before, such as a session, may last."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure and its budget, both in seconds. Without a budget it is reported, but not judged."""

    name: str
    measured: float
    budget: float | None
    detail: str = ""
    absent: bool = False  # no site was left at which it can be measured; `measured` is 0

    @property
    def kept(self) -> bool:
        return self.budget is None or self.measured <= self.budget


@dataclass(frozen=True)
class Result:
    """One run of a drill, judged."""

    began: journal.Began
    history: History
    findings: Findings
    phases: Phases
    down: frozenset[str]
    judged: tuple[Judged, ...]
    failovers: int
    promises: tuple[journal.Promise, ...]
    chains: tuple[Chain, ...]  # how each spared site came out of its longest gap in writes while the fault lasted
    records: tuple[journal.Record, ...]
    predicted: journal.Predicted | None
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def deviations(self) -> frozenset[str]:
        """The kinds of findings that are known deviations here: they are reported, but not judged."""
        return frozenset({"split"} if self.began.deviation else ())

    @property
    def main(self) -> str:
        """The name of the figure that the drill is about."""
        expect = self.began.expect
        return "back" if expect.back != "unjudged" else "refused" if expect.refused != "unjudged" else "writes"

    @property
    def unavailable(self) -> float:
        """Seconds of the drill's figure; mostly those without writes at the worst spared site."""
        return next(one.measured for one in self.judged if one.name == self.main)

    @property
    def verdict(self) -> journal.Verdict:
        return journal.Verdict(t=self.phases.end, passed=self.passed, reasons=self.reasons)


def result(entries: Sequence[journal.AnyEntry]) -> Result:
    """Judge a drill's journal from its contents alone. Raises JournalError if it is not complete."""
    began = _whole(entries)
    expect, budgets = began.expect, began.budgets
    history = build(entries)
    end = max(entry.t for entry in entries)
    phases = phases_of(history.faults, end)
    stable = _stable(entries, phases)
    history = replace(history, routes=_own_again(history, stable))
    down = frozenset(site for fault in history.faults for site in fault.sites)
    truth = history.primaries[-1].node if history.primaries else ""
    findings = check(history, truth=truth)
    records = tuple(entry for entry in entries if isinstance(entry, journal.Record))
    reads_budget = seconds_of(expect.reads, budgets) or budgets.reads
    case = Case(history, records, phases, down, truth, reads_budget)
    judged = (*_figures(findings.gaps, case, expect, budgets, stable), *_healthy(entries, phases, expect, budgets))
    promises = tuple(_promises(expect, case, entries))
    failovers = _failovers(history, phases)
    reasons = [*_anomalies(findings, truth, began.deviation), *_absent(case), *_broken(judged, promises)]
    if expect.failovers is not None and failovers != expect.failovers:
        reasons.append(f"{failovers} changes of the primary, expected {expect.failovers}")
    return Result(
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


def _whole(entries: Sequence[journal.AnyEntry]) -> journal.Began:
    """The first entry of a journal. Raises JournalError unless the journal also has an end."""
    began = next((entry for entry in entries if isinstance(entry, journal.Began)), None)
    if began is None:
        found = "none" if entries else "nothing at all"
        raise journal.JournalError(
            f"expected a journal that begins with `began`, found {found}; the drill ended before it began"
        )
    if not any(isinstance(entry, journal.Collected) for entry in entries):
        raise journal.JournalError(
            f"expected a journal with the tables at its end, found that it ends after "
            f"{max(entry.t for entry in entries):.1f} s: the tool was stopped or an error ended the drill, so nothing "
            f"is known of lost writes. Run the drill again"
        )
    return began


def _stable(entries: Sequence[journal.AnyEntry], phases: Phases) -> float:
    """The second from which on a hit site is judged like the others."""
    healthy = [entry.t for entry in entries if isinstance(entry, journal.Promise) and entry.name == HEALTHY_AGAIN]
    return max([phases.healed + STABLE_S, *(t + LINGER_S for t in healthy)])


def _own_again(history: History, stable: float) -> dict[str, tuple[journal.Route, ...]]:
    """Routes with the hit sites' reads back at their own nodes after the fault, which the journal does not say."""
    own = {node.site: node.name for node in history.nodes.values() if node.role == "db"}
    calm = all(change.t < stable - STABLE_S for change in history.primaries)
    routes = dict(history.routes)
    for site, of_site in routes.items():
        if calm and site in own and not of_site[-1].reads and of_site[-1].t < stable:
            routes[site] = (*of_site, journal.Route(t=stable, site=site, reads=(own[site],)))
    return routes


def _figures(
    found: Sequence[Gap], case: Case, expect: ExpectModel, budgets: BudgetsModel, stable: float
) -> list[Judged]:
    phases, down = case.phases, case.down
    loads = {worker for site, worker in case.history.slots if site not in down}
    hit = [gap for gap in found if gap.site in down and gap.end > stable]
    since = {gap: gap.end - max(gap.start, stable) for gap in hit}
    spared = [gap for gap in found if gap.site not in down]
    writes = [gap for gap in spared if gap.worker != "reader" and gap.end > phases.injecting]
    reads = [gap for gap in spared if gap.worker == "reader" and gap.end > phases.injecting]
    during = [(gap.seconds, gap) for gap in writes if gap.start < phases.healing]
    # A gap that began with the fault may last into the healing; only the part after that counts here.
    after = [(gap.end - max(gap.start, phases.healing), gap) for gap in writes if gap.end > phases.healing]
    after += [(seconds, gap) for gap, seconds in since.items() if gap.worker != "reader"]
    unread = [(gap.seconds, gap) for gap in reads]
    unread += [(seconds, gap) for gap, seconds in since.items() if gap.worker == "reader"]
    budget = seconds_of(expect.writes, budgets)
    figures = [
        _worst("writes", [one for one in during if one[1].worker == "writer"], budget, "writer" not in loads),
        _worst(
            "transactions",
            [one for one in during if one[1].worker == "transactions"],
            budget,
            "transactions" not in loads,
        ),
        _worst("healing", after, seconds_of(expect.healing, budgets)),
        _worst("reads", unread, seconds_of(expect.reads, budgets), "reader" not in loads and not unread),
    ]
    back = seconds_of(expect.back, budgets)
    if back is not None:
        figures.append(_back(case.history, phases, back))
    refused = seconds_of(expect.refused, budgets)
    if refused is not None:
        figures.append(_refused(case.history, phases, refused))
    return figures


def _worst(name: str, measured: Sequence[tuple[float, Gap]], budget: float | None, absent: bool = False) -> Judged:
    if not measured:
        return Judged(name, 0.0, budget, "no site was spared" if absent else "", absent)
    seconds, gap = max(measured, key=lambda pair: pair[0])
    detail = f"{gap.worker} at {gap.site}" + ("" if gap.recovered else ", and not back when the load ended")
    # A gap without an end keeps no budget, however short the rest of the drill was.
    return Judged(name, seconds if gap.recovered or budget is None else float("inf"), budget, detail)


def _back(history: History, phases: Phases, budget: float) -> Judged:
    first = _first_write(history, phases.healing)
    if first is None:
        return Judged("back", float("inf"), budget, "no write was acknowledged any more")
    return Judged("back", first.ended - phases.healing, budget, f"first write at {first.site}")


def _refused(history: History, phases: Phases, budget: float) -> Judged:
    first: dict[str, float] = {site: float("inf") for site, worker in history.slots if worker == "writer"}
    for failure in history.failures:
        refusal = failure.sqlstate == READ_ONLY_SQLSTATE and phases.injecting < failure.t < phases.healing
        if refusal and failure.worker != "reader":
            first[failure.site] = min(failure.t, first.get(failure.site, failure.t))
    slowest = max(first, key=lambda site: first[site], default="")
    if not slowest or first[slowest] == float("inf"):
        return Judged("refused", float("inf"), budget, f"no write was refused with 25006 at {slowest or 'any site'}")
    return Judged("refused", first[slowest] - phases.injecting, budget, f"at {slowest}, the slowest site")


def _healthy(
    entries: Sequence[journal.AnyEntry], phases: Phases, expect: ExpectModel, budgets: BudgetsModel
) -> Sequence[Judged]:
    """The time until the platform was healthy again, if that was recorded. It is reported even if it is not judged."""
    budget = seconds_of(expect.healthy, budgets)
    looked = [entry for entry in entries if isinstance(entry, journal.Promise) and entry.name == HEALTHY_AGAIN]
    if not looked:
        return () if budget is None else (Judged("healthy", float("inf"), budget, "it was not looked at"),)
    took = looked[0].t - phases.healed if looked[0].held else float("inf")
    return (Judged("healthy", took, budget, looked[0].detail),)


def _failovers(history: History, phases: Phases) -> int:
    before = [p.node for p in history.primaries if p.t <= phases.injecting][-1:]
    after = [p.node for p in history.primaries if p.t > phases.injecting]
    return sum(1 for one, other in pairwise([*before, *after]) if one != other)


def _promises(expect: ExpectModel, case: Case, entries: Sequence[journal.AnyEntry]) -> list[journal.Promise]:
    asked = {entry.name: entry for entry in entries if isinstance(entry, journal.Promise)}
    # Checked in every scenario, and shown only if it failed.
    found = [entry for name, entry in asked.items() if name not in expect.promises and not entry.held]
    for name in expect.promises:
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
            if gap.site == site and gap.worker == "writer" and gap.overlaps(phases.injecting, phases.end)
        ]
        if of_site:
            gap = max(of_site, key=lambda one: one.seconds)
            before = [p.node for p in history.primaries if p.t <= gap.start]
            leads = [p.node for p in history.primaries if p.t <= gap.end]
            old, new = (before or [""])[-1], (leads or [""])[-1]
            chains.append(chain_of(gap, records, history.faults, new, old))
    dark = {site for site, _ in history.slots} <= down
    first = _first_write(history, phases.healing) if dark else None
    if first is not None:
        leads = [p.node for p in history.primaries if p.t <= first.ended]
        start = Gap(first.site, "writer", phases.healing, first.ended, 1)
        chains.append(chain_of(start, records, history.faults, (leads or [""])[-1]))
    return chains


def _first_write(history: History, since: float) -> Write | None:
    """The first write that was sent after `since` and acknowledged."""
    written = (
        write for write in history.writes if write.outcome is WriteOutcome.ACKNOWLEDGED and write.attempted > since
    )
    return min(written, key=lambda write: write.ended, default=None)


def _anomalies(findings: Findings, truth: str, deviation: str) -> list[str]:
    excused = {"split"} if deviation else set()
    counts = {what: len(getattr(findings, field)) for field, what in ANOMALIES.items() if field not in excused}
    reasons = [f"{number} {what}" for what, number in counts.items() if number]
    if findings.misrouted:
        first = findings.misrouted[0]
        reasons.append(
            f"the first of them: a {first.what} at {first.site} after {first.t:.1f} s, "
            f"by {first.node} instead of {' or '.join(first.expected)}"
        )
    if not truth:
        reasons.append("no node was primary at the end")
    if not findings.acknowledged:
        reasons.append("no write was ever acknowledged")
    return reasons


def _absent(case: Case) -> list[str]:
    """A load that does not run sees no outage, so its silence must not count as success."""
    history = case.history
    reasons = [
        f"the load at {site} was lost after {times[0]:.1f} s, although no fault was meant to end it"
        for site, times in sorted(history.lost_loads.items())
        if site not in case.down
    ]
    again = {
        write.site
        for write in history.writes
        if write.outcome is WriteOutcome.ACKNOWLEDGED and write.ended > case.phases.healing
    }
    never = sorted({site for site, worker in history.slots if worker == "writer"} - again)
    return reasons + [f"no write was acknowledged at {site} from the healing on" for site in never]


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
        """Seconds of the drill's figure."""
        return statistics.median(one.unavailable for one in self.results)

    @property
    def worst(self) -> float:
        return max(one.unavailable for one in self.results)

    @property
    def typical(self) -> Result:
        """The run whose figure is nearest to the median."""
        return min(self.results, key=lambda one: abs(one.unavailable - self.median))
