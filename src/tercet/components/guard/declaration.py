"""What is guard's own in the inventory."""

from __future__ import annotations

from tercet.components.guard.journal import JOURNALS
from tercet.inventory.components import ComponentDeclaration

DECLARATION = ComponentDeclaration(components=("component:Guard",), journals=JOURNALS)
