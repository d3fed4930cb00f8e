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
