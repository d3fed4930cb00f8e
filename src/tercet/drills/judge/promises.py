"""The promises of a scenario that its journal alone can judge. Pure.

The others (Nomad's, the catalogues') are asked of the running platform by the runner and come as entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tercet.drills import journal
from tercet.drills.judge.availability import gaps
from tercet.drills.judge.checker import missing_on
from tercet.drills.judge.history import History, Outcome
from tercet.drills.judge.records import What

REFUSED_WITHIN_S = 5.0
"""The specification's time from the loss of the last standby to refused writes, and from its return to writes."""
READ_ONLY_SQLSTATE = "25006"


@dataclass(frozen=True, slots=True)
class Phases:
    """When the faults were made and healed, in seconds of the drill; the drill's end where they were not."""

    injecting: float
    injected: float
    healing: float
    healed: float
    end: float


@dataclass(frozen=True)
class Case:
    """What promises are judged from. `down`: the sites that the fault took from their applications."""

    history: History
    records: Sequence[journal.Record]
    phases: Phases
    down: frozenset[str]
    truth: str  # the node that is primary at the end
    reads_budget: float


Answer = tuple[bool, str]


def phases_of(faults: Sequence[journal.Fault], end: float) -> Phases:
    """The phases of a drill with these fault entries. It heals once no further fault is made."""

    def first(action: str, default: float, since: float = 0.0) -> float:
        return min((fault.t for fault in faults if fault.action == action and fault.t >= since), default=default)

    healed = [fault.t for fault in faults if fault.action in ("healed", "heal failed")]
    injecting = first("injecting", end)
    return Phases(
        injecting,
        max((fault.t for fault in faults if fault.action == "injected"), default=injecting),
        first("healing", end, max((fault.t for fault in faults if fault.action == "injecting"), default=0.0)),
        max(healed, default=end),
        end,
    )


def judge(name: str, case: Case) -> journal.Promise | None:
    """One promise; None if the journal alone cannot tell."""
    judged = JUDGES.get(name)
    if judged is None:
        return None
    held, detail = judged(case)
    return journal.Promise(t=case.phases.end, name=name, held=held, detail=detail)


def _old_primary_silent(case: Case) -> Answer:
    before = [p for p in case.history.primaries if p.t <= case.phases.injecting]
    if not before:
        return False, "it is not known who was primary before the fault"
    old = before[-1].node
    addresses = {address for address, node in case.history.nodes.items() if node.name == old}
    wrong = [
        write
        for write in case.history.writes
        if write.outcome is Outcome.ACKNOWLEDGED
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
        return False, f"nobody tried to write at {site} while the fault lasted"
    return True, f"{old} acknowledged none"


def _reads_go_on(case: Case, sites: frozenset[str]) -> Answer:
    streams = {stream: slots for stream, slots in case.history.slots.items() if stream[1] == "reader"}
    watched = [site for site, _ in streams if site in sites]
    if not watched:
        return False, "nobody read there"
    during = [
        gap for gap in gaps(streams) if gap.site in sites and gap.overlaps(case.phases.injecting, case.phases.healing)
    ]
    worst = max(during, key=lambda gap: gap.seconds, default=None)
    if worst is not None and worst.seconds > case.reads_budget:
        return False, f"no read at {worst.site} for {worst.seconds:.1f} s"
    seconds = worst.seconds if worst else 0.0
    return True, f"longest gap {seconds:.1f} s at {', '.join(sorted(watched))}"


def _local_reads(case: Case) -> Answer:
    return _reads_go_on(case, case.down)


def _reads_everywhere(case: Case) -> Answer:
    return _reads_go_on(case, frozenset(site for site, _ in case.history.slots))


def _refused(case: Case) -> Answer:
    start, end = case.phases.injected + REFUSED_WITHIN_S, case.phases.healing
    false = [
        write
        for write in case.history.writes
        if write.outcome is Outcome.ACKNOWLEDGED and start < write.attempted and write.ended < end
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
        return False, "nobody wrote while there was no standby"
    if other:
        return False, f"writes failed with SQLSTATE {', '.join(other)} too"
    slowest = max(failure.t - failure.scheduled for failure in failures)
    return True, f"{len(failures)} writes refused, the slowest after {slowest:.2f} s"


def _writable_again(case: Case) -> Answer:
    sites = {site for site, worker in case.history.slots if worker == "writer"}
    returned = min(
        (record.t for record in case.records if record.what == What.STREAMING and record.t >= case.phases.healing),
        default=case.phases.healed,
    )
    again: dict[str, float] = {}
    for write in case.history.writes:
        if write.outcome is Outcome.ACKNOWLEDGED and write.ended >= case.phases.healing:
            again[write.site] = min(write.ended, again.get(write.site, write.ended))
    never = sorted(sites - set(again))
    if never or not again:
        return False, f"no write was acknowledged at {', '.join(never) or 'any site'} after a standby was back"
    slowest = max(again, key=lambda site: again[site])
    after = max(0.0, again[slowest] - returned)
    said = f"first write {after:.1f} s after a standby streamed again, at {slowest}, the slowest site"
    return after <= REFUSED_WITHIN_S, said


def _standbys_complete(case: Case) -> Answer:
    databases = {node.name for node in case.history.nodes.values() if node.role == "db"}
    unread = sorted(databases - set(case.history.rows))
    if unread:
        return False, f"{', '.join(unread)} could not be read"
    lacking = {name: len(missing_on(case.history, name)) for name in sorted(databases)}
    short = [f"{name} lacks {number}" for name, number in lacking.items() if number]
    return not short, "; ".join(short) or f"all {len(databases)} have every acknowledged write"


def _rejoined(case: Case) -> Answer:
    rebuilt = sorted({record.node for record in case.records if record.what == What.REBUILT})
    if rebuilt:
        return False, f"{', '.join(rebuilt)} copied all data anew"
    hit = {node for fault in case.history.faults for node in fault.nodes}
    hit &= {node.name for node in case.history.nodes.values() if node.role == "db"}
    mute = sorted(hit - {record.node for record in case.records if record.t >= case.phases.injecting})
    if mute:
        return False, f"nothing is known of {', '.join(mute)}: its journal could not be read"
    return True, "nobody copied all data anew"


def _proxies_follow(case: Case) -> Answer:
    last: dict[str, str] = {}
    for write in sorted(case.history.writes, key=lambda one: one.ended):
        if write.outcome is Outcome.ACKNOWLEDGED:
            node = case.history.nodes.get(write.node)
            last[write.site] = node.name if node else write.node
    wrong = [f"{site}: {node}" for site, node in sorted(last.items()) if node != case.truth]
    if not last:
        return False, "no write was acknowledged"
    return not wrong, "; ".join(wrong) or f"all sites write to {case.truth}"


JUDGES: Mapping[str, Callable[[Case], Answer]] = {
    "old primary acknowledges nothing": _old_primary_silent,
    "local reads go on": _local_reads,
    "reads go on everywhere": _reads_everywhere,
    "writes refused with 25006": _refused,
    "writable again by itself": _writable_again,
    "standbys complete": _standbys_complete,
    "rejoined without rebuild": _rejoined,
    "proxies follow the primary": _proxies_follow,
}
