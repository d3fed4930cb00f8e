"""What a round of a soak is judged by, derived from its faults by a few rules. Pure.

1. Whatever the faults: no acknowledged write is lost, none is acknowledged by two primaries, no answer comes from the
   wrong node, and the platform is healthy again by itself within HEALTHY_S of the healing. (The verdict's and the
   runner's; nothing of it is for a rule to allow.)
2. A single fault that leaves two sites with their database and their vote in `dcs`, and one link that fails, are
   survived: writes go on at each site that is spared, after at most what the budgets give to one failover.
3. Two faults that together touch the databases or votes of one site at most are survived as well; each may cost one
   failover.
4. Anything else may cost the writes for as long as it lasts: they are refused or wait. Nothing more is allowed to it.
   So may a line that is `hopeless`: one that loses too many packets or takes too long (scenario/faults/lines.py).
5. Once all is healthy again, reads are fresh: at most STALE_S behind.

A drill judges how long a failover takes; a soak looks for what is lost or stuck, on a machine that may be busy.
"""

from __future__ import annotations

from collections.abc import Sequence

from tercet.drills.expect import ExpectModel
from tercet.drills.judge.checker import staleness
from tercet.drills.judge.history import Outcome
from tercet.drills.judge.verdict import LINGER_S, Result
from tercet.drills.scenario.fault import FaultModel
from tercet.drills.soak.draw import LINKS, sites_of
from tercet.inventory.model import BudgetsModel
from tercet.inventory.platform import Platform

HEALTHY_S = 60.0
STALE_S = 5.0


def expectation(faults: Sequence[FaultModel], platform: Platform, budgets: BudgetsModel) -> ExpectModel:
    """The `expect` of a round with these faults."""
    allowed = _seconds(faults, budgets) if survived(faults, platform) else None
    return ExpectModel(
        writes="unjudged" if allowed is None else allowed,
        reads="unjudged",
        healing="unjudged",
        promises=("standbys complete", "proxies follow the primary"),
    )


def survived(faults: Sequence[FaultModel], platform: Platform) -> bool:
    """Rules 2 to 4: writes go on while these faults last."""
    if any(fault.hopeless for fault in faults):
        return False
    touched = frozenset[str]().union(*(sites_of(fault, platform) for fault in faults))
    return len(touched) <= 1 or (len(faults) == 1 and faults[0].hits in LINKS)


def _seconds(faults: Sequence[FaultModel], budgets: BudgetsModel) -> float:
    """The longest gap of writes that is allowed to faults that are survived."""
    failover = max(budgets.site_loss, budgets.site_cut, budgets.primary_loss)
    # A proxy that does not learn of the new primary follows it once what tells it is back.
    deaf = max((fault.lasts for fault in faults if fault.deafens), default=0.0) if len(faults) > 1 else 0.0
    unsettled = max((fault.lasts for fault in faults if fault.unsettles), default=0.0)
    return failover * len(faults) + deaf + unsettled


def stale(result: Result, healthy: float) -> list[str]:
    """Rule 5: each site whose reads stay behind once all is healthy, which it was at that second."""
    acknowledged = [write for write in result.history.writes if write.outcome is Outcome.ACKNOWLEDGED]
    late = [read for read in result.history.reads if read.sent > healthy + LINGER_S]
    worst: dict[str, float] = {}
    for read, (_, seconds) in zip(late, staleness(acknowledged, late), strict=True):
        worst[read.site] = max(seconds, worst.get(read.site, 0.0))
    return [
        f"reads at {site} are {seconds:.1f} s behind after the healing, at most {STALE_S:g} s allowed"
        for site, seconds in sorted(worst.items())
        if seconds > STALE_S
    ]
