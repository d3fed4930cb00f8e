"""Every component of a platform, made from what the inventory and its image say."""

from __future__ import annotations

from tercet.components.context import Context
from tercet.converge.component import Component
from tercet.inventory.components import named, registered


def components(context: Context) -> tuple[Component, ...]:
    """The components of this platform, in the order in which a reader should meet them."""
    return tuple(
        named(package, entry)(context)
        for package, declaration in registered().items()
        if context.platform.world or not declaration.of_the_world
        for entry in declaration.components
    )
