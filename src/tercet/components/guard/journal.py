"""The log lines of the daemons in nodeside/ that belong to no other component."""

from __future__ import annotations

from tercet.inventory.journals import Journal, What, rules

GUARD = rules((What.GUARDED, r"^silent \S+ (\S+)"), (What.ANSWERS, r"^answers again \S+ (\S+)"))
HUNGWATCH = rules((What.HUNG, r"^(\S+) answers nobody: killed"))
PLACEMENT = rules((What.LEADER_HANDED, r"^leader handed to ([^\s:]+)"))

JOURNALS = (
    Journal("tercet-guard.service", "guard", GUARD),
    Journal("tercet-placement.service", "placement", PLACEMENT),
    Journal("tercet-dcswatch.service", "dcswatch", HUNGWATCH),
    Journal("tercet-proxywatch.service", "proxywatch", HUNGWATCH),
)
