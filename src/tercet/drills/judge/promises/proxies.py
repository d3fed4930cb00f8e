"""Whether the proxies of all sites follow the primary."""

from __future__ import annotations

from tercet.drills.judge.case import Answer, Case, journaled
from tercet.drills.judge.history import WriteOutcome


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
