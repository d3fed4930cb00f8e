"""What is headscale's own in the inventory."""

from __future__ import annotations

from tercet.inventory.components import Declaration

DECLARATION = Declaration(components=("component:Headscale",), of_the_world=True)
