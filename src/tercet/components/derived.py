"""Secrets that a component derives from generated ones. Whatever searches for secrets must know them, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.registry import additions


@dataclass(frozen=True, slots=True)
class Derived:
    """One component's derived secrets by name. Each component declares them in its `additions`."""

    of: Callable[[Context], Mapping[str, str]]


def derived(context: Context) -> dict[str, str]:
    """The derived secrets of all components, by name."""
    return {name: value for each in additions(Derived) for name, value in each.of(context).items()}
