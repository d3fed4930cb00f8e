"""Makes every component of a platform from the inventory and the image, and collects their additions to others."""

from __future__ import annotations

from typing import Any, TypeVar

from tercet.components.context import Context
from tercet.components.proof import Proof
from tercet.components.status import Notes, Part, Table
from tercet.converge.component import Component
from tercet.inventory.components import named, registered

A = TypeVar("A")


def components(context: Context) -> tuple[Component, ...]:
    """The components of this platform, in the order for display."""
    return tuple(
        named(package, entry)(context)
        for package, declaration in registered().items()
        if context.platform.world or not declaration.of_the_world
        for entry in declaration.components
    )


def proofs(context: Context) -> tuple[Proof, ...]:
    """What `verify` judges besides the components' health, in their order."""
    return tuple(named(package, each.proof)(context) for package, each in registered().items() if each.proof)


def additions(kind: type[A]) -> tuple[A, ...]:
    """The components' additions of this class, in the order of the components."""
    named_ones = (named(package, entry) for package, each in registered().items() for entry in each.additions)
    return tuple(addition for addition in named_ones if isinstance(addition, kind))


def tables() -> tuple[Table[Any], ...]:
    """The tables of `status`, in their order."""
    return tuple(sorted((part for part in _parts() if isinstance(part, Table)), key=lambda table: table.place))


def notes() -> tuple[Notes[Any], ...]:
    """The notes below the tables, in their order."""
    return tuple(part for part in _parts() if isinstance(part, Notes))


def _parts() -> list[Part]:
    return [named(package, entry) for package, declaration in registered().items() for entry in declaration.status]
