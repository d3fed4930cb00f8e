"""Whether reads go on while the fault lasts."""

from __future__ import annotations

from tercet.drills.judge.availability import gaps
from tercet.drills.judge.case import Answer, Case, journaled


@journaled("local reads go on")
def _local_reads(case: Case) -> Answer:
    return _reads_go_on(case, case.down)


@journaled("reads go on everywhere")
def _reads_everywhere(case: Case) -> Answer:
    return _reads_go_on(case, frozenset(site for site, _ in case.history.slots))


@journaled("reads stay at the site")
def _reads_stay(case: Case) -> Answer:
    """While the fault lasts, the database nodes that it hit answer the reads of their sites."""
    hit = {name for fault in case.history.faults for name in fault.nodes}
    own = {node.site: address for address, node in case.history.nodes.items() if node.role == "db" and node.name in hit}
    during = [
        read for read in case.history.reads if read.site in own and case.phases.injecting < read.t < case.phases.healing
    ]
    away = [read for read in during if read.node != own[read.site]]
    if not during:
        return False, "no application read there"
    if away:
        first = away[0].t - case.phases.injecting
        return False, f"{len(away)} of {len(during)} reads were answered elsewhere, from {first:.1f} s on"
    return True, f"all {len(during)} reads"


def _reads_go_on(case: Case, sites: frozenset[str]) -> Answer:
    streams = {stream: slots for stream, slots in case.history.slots.items() if stream[1] == "reader"}
    watched = [site for site, _ in streams if site in sites]
    if not watched:
        return False, "no application read there"
    during = [
        gap for gap in gaps(streams) if gap.site in sites and gap.overlaps(case.phases.injecting, case.phases.healing)
    ]
    worst = max(during, key=lambda gap: gap.seconds, default=None)
    if worst is not None and worst.seconds > case.reads_budget:
        return False, f"no read at {worst.site} for {worst.seconds:.1f} s"
    seconds = worst.seconds if worst else 0.0
    return True, f"longest gap {seconds:.1f} s at {', '.join(sorted(watched))}"
