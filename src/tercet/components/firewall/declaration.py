"""The firewall's declaration, and names that others need."""

from __future__ import annotations

from tercet.inventory.components import ComponentDeclaration

UNIT = "tercet-firewall.service"
SSH = 22

DECLARATION = ComponentDeclaration(components=("component:Firewall",), proof="proof:proof")
