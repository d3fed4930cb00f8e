"""PostgreSQL parameters that other components need. Each component declares them in its `additions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.registry import additions
from tercet.inventory.shapes import Setting


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one component, for Patroni's dynamic configuration. The inventory may set other values."""

    of: Callable[[Context], Mapping[str, Setting]]


def needed(context: Context, own: Mapping[str, Setting]) -> dict[str, Setting]:
    """The parameters of all components, without Patroni's own. Raises ValueError if two need different values."""
    found: dict[str, Setting] = {}
    for each in additions(Parameters):
        for name, value in each.of(context).items():
            other = own.get(name, found.get(name, value))
            if other != value:
                raise ValueError(f"two components need different values of {name}: {other} and {value}")
            found[name] = value
    return found
