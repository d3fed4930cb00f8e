"""Whether the primary from before the fault acknowledges no more writes."""

from __future__ import annotations

from tercet.drills.judge.case import Answer, Case, journaled
from tercet.drills.judge.history import WriteOutcome


@journaled("old primary acknowledges nothing")
def _old_primary_silent(case: Case) -> Answer:
    before = [p for p in case.history.primaries if p.t <= case.phases.injecting]
    if not before:
        return False, "it is not known who was primary before the fault"
    old = before[-1].node
    addresses = {address for address, node in case.history.nodes.items() if node.name == old}
    wrong = [
        write
        for write in case.history.writes
        if write.outcome is WriteOutcome.ACKNOWLEDGED
        and write.node in addresses
        and case.phases.injected < write.attempted < case.phases.healing
    ]
    if wrong:
        return False, f"{old} acknowledged {len(wrong)} writes that were sent after the fault"
    site = next((node.site for node in case.history.nodes.values() if node.name == old), "")
    if not any(
        write.site == site and case.phases.injected < write.attempted < case.phases.healing
        for write in case.history.writes
    ):
        return False, f"no application tried to write at {site} while the fault lasted"
    return True, f"{old} acknowledged none"
