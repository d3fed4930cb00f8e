"""The firewall's declaration, and the name of its unit."""

from __future__ import annotations

from tercet.inventory.components import ComponentDeclaration

UNIT = "tercet-firewall.service"

DECLARATION = ComponentDeclaration(components=("component:Firewall",), proof="proof:proof")
