"""The components whose programs tercet installs itself, and their sources, as the components declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tercet.errors import TercetError
from tercet.image.sources.path import LocalPath
from tercet.image.sources.source import Source
from tercet.inventory.components import ComponentDeclaration, named, registered
from tercet.inventory.model import Inventory

WRAPPERS = Path(__file__).parent / "gomod"

Proxy = Literal["pgcat", "pgpool"]


@dataclass(frozen=True, slots=True)
class Package:
    """`programs` maps each program to the arguments with which it prints its version. `sources` are in the order in
    which `auto` tries them.
    """

    name: str
    programs: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, Source] = field(repr=False)
    proxy: Proxy | None = None
    """The proxy that needs it. None: every platform needs it."""

    @property
    def key(self) -> str:
        """Its name in the inventory's `versions` and `sources`."""
        return self.name.replace("-", "_")

    def version(self, inventory: Inventory) -> str:
        return str(getattr(inventory.versions, self.key))

    def requested(self, inventory: Inventory) -> str:
        return str(getattr(inventory.sources, self.key))

    def candidates(self, requested: str) -> Mapping[str, Source]:
        """The sources to try for the inventory's value, in order. Raises TercetError for an unknown value."""
        if requested == "auto":
            return self.sources
        if (own := LocalPath.of(requested)) is not None:
            return {"path": own}
        if requested in self.sources:
            return {requested: self.sources[requested]}
        known = ", ".join(("auto", *self.sources, "path:/…"))
        raise TercetError(f"sources.{self.key}: expected one of {known}; found {requested!r}")


def components(inventory: Inventory, proxy: Proxy) -> tuple[Package, ...]:
    """The components of this platform's image: headscale only for its own outside world, PgCat only if it is
    the proxy.
    """
    return tuple(
        component
        for package, declaration in registered().items()
        if inventory.world or not declaration.of_the_world
        for component in _of(package, declaration)
        if component.proxy in {None, proxy}
    )


def every() -> tuple[Package, ...]:
    """All components that any platform may need."""
    return tuple(each for package, declaration in registered().items() for each in _of(package, declaration))


def component(name: str) -> Package:
    """The component with that name, even if this platform does not need it."""
    return next(each for each in every() if each.name == name)


def _of(package: str, declaration: ComponentDeclaration) -> list[Package]:
    return [named(package, entry) for entry in declaration.programs]
