"""The log lines of the dead-peer guard and of the placement of leaders (nodeside/)."""

from __future__ import annotations

from tercet.inventory.journals import Journal, What, rules

GUARD = rules((What.GUARDED, r"^silent \S+ (\S+)"), (What.ANSWERS, r"^answers again \S+ (\S+)"))
PLACEMENT = rules((What.LEADER_HANDED, r"^leader handed to ([^\s:]+)"))

JOURNALS = (
    Journal("tercet-guard.service", "guard", GUARD),
    Journal("tercet-placement.service", "placement", PLACEMENT),
)
