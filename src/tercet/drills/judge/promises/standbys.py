"""Whether the standbys have every write, and came back without copying all data."""

from __future__ import annotations

from tercet.drills.judge.case import Answer, Case, journaled
from tercet.drills.judge.checker import missing_on
from tercet.inventory.journals import What


@journaled("standbys complete")
def _standbys_complete(case: Case) -> Answer:
    databases = {node.name for node in case.history.nodes.values() if node.role == "db"}
    unread = sorted(databases - set(case.history.rows))
    if unread:
        return False, f"{', '.join(unread)} could not be read"
    lacking = {name: len(missing_on(case.history, name)) for name in sorted(databases)}
    short = [f"{name} lacks {number}" for name, number in lacking.items() if number]
    return not short, "; ".join(short) or f"all {len(databases)} have every acknowledged write"


@journaled("rejoined without rebuild")
def _rejoined(case: Case) -> Answer:
    rebuilt = sorted({record.node for record in case.records if record.what == What.REBUILT})
    if rebuilt:
        return False, f"{', '.join(rebuilt)} copied all data again"
    hit = {node for fault in case.history.faults for node in fault.nodes}
    hit &= {node.name for node in case.history.nodes.values() if node.role == "db"}
    mute = sorted(hit - {record.node for record in case.records if record.t >= case.phases.injecting})
    if mute:
        return False, f"nothing is known of {', '.join(mute)}: its journal could not be read"
    return True, "no node copied all data again"
