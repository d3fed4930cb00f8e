"""Whether writes are refused without a standby, and accepted again with one."""

from __future__ import annotations

from tercet.drills.judge.case import READ_ONLY_SQLSTATE, Answer, Case, journaled
from tercet.drills.judge.history import WriteOutcome
from tercet.inventory.journals import What

REFUSED_WITHIN_S = 5.0
"""The specification's time from the loss of the last standby to refused writes, and from its return to writes."""


@journaled("writes refused with 25006")
def _refused(case: Case) -> Answer:
    start, end = case.phases.injected + REFUSED_WITHIN_S, case.phases.healing
    false = [
        write
        for write in case.history.writes
        if write.outcome is WriteOutcome.ACKNOWLEDGED and start < write.attempted and write.ended < end
    ]
    if false:
        return False, f"{len(false)} writes were acknowledged without a standby"
    failures = [
        failure
        for failure in case.history.failures
        if failure.worker != "reader" and start < failure.scheduled and failure.t < end
    ]
    other = sorted({failure.sqlstate or "none" for failure in failures} - {READ_ONLY_SQLSTATE})
    if not failures:
        return False, "no application wrote while there was no standby"
    if other:
        return False, f"writes failed with SQLSTATE {', '.join(other)} too"
    slowest = max(failure.t - failure.scheduled for failure in failures)
    return True, f"{len(failures)} writes refused, the slowest after {slowest:.2f} s"


@journaled("writable again by itself")
def _writable_again(case: Case) -> Answer:
    sites = {site for site, worker in case.history.slots if worker == "writer"}
    returned = min(
        (record.t for record in case.records if record.what == What.STREAMING and record.t >= case.phases.healing),
        default=case.phases.healed,
    )
    again: dict[str, float] = {}
    for write in case.history.writes:
        if write.outcome is WriteOutcome.ACKNOWLEDGED and write.ended >= case.phases.healing:
            again[write.site] = min(write.ended, again.get(write.site, write.ended))
    never = sorted(sites - set(again))
    if never or not again:
        return False, f"no write was acknowledged at {', '.join(never) or 'any site'} after a standby was back"
    slowest = max(again, key=lambda site: again[site])
    after = max(0.0, again[slowest] - returned)
    said = f"first write {after:.1f} s after a standby streamed again, at {slowest}, the slowest site"
    return after <= REFUSED_WITHIN_S, said
