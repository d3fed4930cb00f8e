"""The guard's declaration: its log lines."""

from __future__ import annotations

from tercet.components.guard.journal import JOURNALS
from tercet.inventory.components import ComponentDeclaration

DECLARATION = ComponentDeclaration(components=("component:Guard",), journals=JOURNALS)
