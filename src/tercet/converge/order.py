"""The order of components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tercet.converge.component import Component


def in_order(components: Sequence[Component]) -> list[Component]:
    """Sort the components so that each comes after all that it names in `after`; otherwise keep the given order.

    Raises ValueError for a name that does not exist and for a cycle, which are bugs of a component.
    """
    known = {component.name for component in components}
    for component in components:
        if unknown := set(component.after) - known:
            raise ValueError(f"{component.name} comes after {sorted(unknown)}, but there is only {sorted(known)}")
    placed: list[Component] = []
    left = list(components)
    while left:
        names = {component.name for component in placed}
        ready = next((component for component in left if names.issuperset(component.after)), None)
        if ready is None:
            raise ValueError(f"components that come after one another: {[component.name for component in left]}")
        left.remove(ready)
        placed.append(ready)
    return placed


def ancestors(components: Iterable[Component]) -> dict[str, frozenset[str]]:
    """For each component of the ordered list, all components that must come before it."""
    before: dict[str, frozenset[str]] = {}
    for component in components:
        before[component.name] = frozenset(component.after).union(*(before[name] for name in component.after))
    return before
