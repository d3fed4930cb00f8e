"""The guard's declaration: its log lines, and its rights in `dcs`."""

from __future__ import annotations

from tercet.components.guard.journal import JOURNALS
from tercet.inventory.components import ComponentDeclaration

DECLARATION = ComponentDeclaration(components=("component:Guard",), additions=("rights:RIGHTS",), journals=JOURNALS)
