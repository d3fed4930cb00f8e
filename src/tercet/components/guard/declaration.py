"""What is guard's own in the inventory."""

from __future__ import annotations

from tercet.inventory.components import Declaration

DECLARATION = Declaration(components=("component:Guard",))
