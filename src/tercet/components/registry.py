"""Every component of a platform, made from what the inventory and its image say."""

from __future__ import annotations

from importlib import import_module

from tercet.components.context import Context
from tercet.converge.component import Component
from tercet.inventory.components import COMPONENTS, declaration_of


def components(context: Context) -> tuple[Component, ...]:
    """The components of this platform, in the order in which a reader should meet them."""
    return tuple(
        _made(package, entry, context)
        for package in COMPONENTS
        if context.platform.world or not declaration_of(package).of_the_world
        for entry in declaration_of(package).components
    )


def _made(package: str, entry: str, context: Context) -> Component:
    module, _, name = entry.partition(":")
    made: Component = getattr(import_module(f"{package}.{module}"), name)(context)
    return made
