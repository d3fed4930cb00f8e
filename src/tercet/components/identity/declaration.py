"""What is identity's own in the inventory."""

from __future__ import annotations

from tercet.inventory.components import Declaration

DECLARATION = Declaration(components=("fingerprint:Fingerprint", "membership:Membership"))
