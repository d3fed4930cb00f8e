"""The log lines of the daemons in nodeside/ that belong to no other component."""

from __future__ import annotations

from tercet.inventory.journals import UnitJournal, What, rules

GUARD = rules((What.GUARDED, r"^silent \S+ (\S+)"), (What.ANSWERS, r"^answers again \S+ (\S+)"))
HUNGWATCH = rules((What.HUNG, r"^(\S+) does not answer: killed"))
PLACEMENT = rules((What.LEADER_HANDED, r"^leader handed to ([^\s:]+)"))

JOURNALS = (
    UnitJournal("tercet-guard.service", "guard", GUARD),
    UnitJournal("tercet-placement.service", "placement", PLACEMENT),
    UnitJournal("tercet-dcswatch.service", "dcswatch", HUNGWATCH),
    UnitJournal("tercet-proxywatch.service", "proxywatch", HUNGWATCH),
)
