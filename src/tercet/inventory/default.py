"""The default inventory: the specification's three sites, with comments for the person who will change it."""

from __future__ import annotations

from importlib import resources


def default_text() -> str:
    """The text that `tercet init` writes."""
    return resources.files("tercet.inventory").joinpath("default.yml").read_text(encoding="utf-8")
