"""Paper in the inventory."""

from __future__ import annotations

from collections.abc import Iterator

from tercet.inventory.base import Model
from tercet.inventory.model import Inventory
from tercet.inventory.problems import Finding
from tercet.inventory.providers import Capability, ProviderDeclaration


class PaperModel(Model):
    """The paper that containers are written on."""

    sheets: int = 0
    """How many sheets there are."""


class PaperSiteModel(Model):
    """What is paper's own at a site."""

    drawer: str = "top"
    """Where its sheets are kept."""


def check_chosen(inventory: Inventory) -> Iterator[Finding]:
    if not inventory.of(DECLARATION).sheets:
        yield Finding(("paper", "sheets"), "paper to write on", "none", "sheets: 9")


DECLARATION = ProviderDeclaration(
    name="paper",
    settings=PaperModel,
    image="archive",
    per_site=True,
    site=PaperSiteModel,
    faults=frozenset({Capability.FREEZE}),
    check_chosen=check_chosen,
)
