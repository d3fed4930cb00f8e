"""Whether the proxies of all sites follow the primary, and stay with it."""

from __future__ import annotations

from tercet.drills.judge.case import Answer, Case, journaled
from tercet.drills.judge.history import WriteOutcome
from tercet.inventory.journals import What


@journaled("proxies follow the primary")
def _proxies_follow(case: Case) -> Answer:
    last: dict[str, str] = {}
    for write in sorted(case.history.writes, key=lambda one: one.ended):
        if write.outcome is WriteOutcome.ACKNOWLEDGED:
            node = case.history.nodes.get(write.node)
            last[write.site] = node.name if node else write.node
    wrong = [f"{site}: {node}" for site, node in sorted(last.items()) if node != case.truth]
    if not last:
        return False, "no write was acknowledged"
    return not wrong, "; ".join(wrong) or f"all sites write to {case.truth}"


@journaled("proxies stay with the new primary")
def _proxies_stay(case: Case) -> Answer:
    """pgpool-II's routes are recorded; PgCat, which learns of its servers from a file, records none."""
    truth = {address for address, node in case.history.nodes.items() if node.name == case.truth}
    arrived, silent, wrong = set[str](), set[str](), list[str]()
    for record in sorted(case.records, key=lambda one: one.t):
        if record.component != "proxy":
            continue
        if record.subject in truth and record.what == What.GUARDED:
            silent.add(record.node)  # then the routes leave it, as they should
        elif record.subject in truth and record.what == What.ANSWERS:
            silent.discard(record.node)
        elif record.what != What.PROXY_READY or record.subject not in case.history.nodes:
            continue
        elif record.subject in truth:
            arrived.add(record.node)
        elif record.node in arrived and record.node not in silent and record.t >= case.phases.healing:
            to = case.history.nodes[record.subject].name
            after = record.t - case.phases.healing
            wrong.append(f"{record.node} left {case.truth} for {to} {after:.1f} s after the healing")
    return not wrong, "; ".join(wrong) or f"no proxy left {case.truth} after the healing"
