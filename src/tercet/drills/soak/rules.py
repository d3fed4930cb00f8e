"""The expectations of a round of a soak, derived from its faults by a few rules. Pure.

1. With any faults: no acknowledged write is lost, no write is acknowledged by two primaries, no answer comes from the
   wrong node, and the platform is healthy again by itself within HEALTHY_S of the healing. (The verdict and the runner
   check this; no rule here can change it.)
2. The platform survives a single fault that leaves two sites with their database and their vote in `dcs`, and a single
   link that fails: writes go on at each spared site, after at most the budget of one failover.
3. The platform also survives two faults that together affect the databases or votes of at most one site; each may cost
   one failover.
4. Any other faults may stop the writes while they last: writes may be refused or wait, but nothing else may happen. The
   same holds for a link that is `hopeless`: it loses too many packets or is too slow (scenario/faults/lines.py).
5. When the platform is healthy again, reads are at most STALE_S behind.

A drill judges how long a failover takes. A soak looks for anything that is lost or stuck, on a machine that may be
busy.
"""

from __future__ import annotations

from collections.abc import Sequence

from tercet.drills.expect import ExpectModel
from tercet.drills.judge.checker import staleness
from tercet.drills.judge.history import WriteOutcome
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
    """The longest gap in writes that is allowed for faults that the platform must survive."""
    failover = max(budgets.site_loss, budgets.site_cut, budgets.primary_loss)
    # A proxy whose source of information is down follows the new primary when that source is back.
    deaf = max((fault.lasts for fault in faults if fault.deafens), default=0.0) if len(faults) > 1 else 0.0
    return failover * len(faults) + deaf


def stale(result: Result, healthy: float) -> list[str]:
    """Rule 5: the sites whose reads are too far behind after `healthy`, the second at which the platform was
    healthy.
    """
    acknowledged = [write for write in result.history.writes if write.outcome is WriteOutcome.ACKNOWLEDGED]
    late = [read for read in result.history.reads if read.sent > healthy + LINGER_S]
    worst: dict[str, float] = {}
    for read, (_, seconds) in zip(late, staleness(acknowledged, late), strict=True):
        worst[read.site] = max(seconds, worst.get(read.site, 0.0))
    return [
        f"reads at {site} are {seconds:.1f} s behind after the healing, at most {STALE_S:g} s allowed"
        for site, seconds in sorted(worst.items())
        if seconds > STALE_S
    ]
