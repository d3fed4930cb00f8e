"""What is identity's own in the inventory."""

from __future__ import annotations

from tercet.inventory.components import ComponentDeclaration

DECLARATION = ComponentDeclaration(components=("fingerprint:Fingerprint", "membership:Membership"))
