"""The list of providers, and what each declares about itself before anything is opened.

A provider is a package with two modules: `declaration.py` has its `DECLARATION`, and `provider.py` opens a platform
(see providers/base.py). The inventory knows these packages only by name, so it depends on no provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from tercet.inventory.base import Model
from tercet.inventory.problems import Finding

if TYPE_CHECKING:
    from tercet.inventory.model import Inventory

M = TypeVar("M", bound=Model)

PROVIDERS: tuple[str, ...] = ("tercet.providers.lab", "tercet.providers.proxmox")
"""The package of each provider. The first one is the default."""

ImageForm = Literal["tree", "archive"]
"""What containers are made from: the image's directory tree on this machine, or one compressed archive of it."""


class Capability(StrEnum):
    """A kind of fault that a provider can make from outside the nodes, by methods of `Faults` (providers/base.py)."""

    KILL = "kill"
    FREEZE = "freeze"
    CUT = "cut"
    CUT_ONE_WAY = "cut-one-way"
    LOSS = "loss"
    LATENCY = "latency"
    SLOW_DISK = "slow-disk"


@dataclass(frozen=True)
class ProviderDeclaration(Generic[M]):
    """What a provider declares. `settings` is the model of the inventory's key `name`."""

    name: str
    settings: type[M]
    image: ImageForm
    per_site: bool = False
    """Whether a site may also have the key, for settings of that site only."""
    site: type[Model] | None = None
    """The keys that it adds to those of every site."""
    world: Callable[[M], IPv4Network] | None = None
    """The network of the outside world (headscale and DERP) that it makes. None: its nodes join a real tailnet."""
    neighbours: bool = False
    """Whether it can make a guest on the network of a site that is no node (Provider.neighbour)."""
    faults: frozenset[Capability] = frozenset()
    """The faults that it can make. A drill that needs another one is refused before anything is changed."""
    check: Callable[[Inventory], Iterable[Finding]] = lambda _: ()
    """What is wrong in its settings, whichever provider the inventory chooses."""
    check_chosen: Callable[[Inventory], Iterable[Finding]] = lambda _: ()
    """What else is wrong or missing if the inventory chooses this provider."""
    ssh: Callable[[Inventory, str], bool] = lambda *_: False
    """Whether the tool reaches the nodes of that site by SSH over the tailnet, from a device that is no node."""
    resolved: Callable[[M, Path], M] = lambda settings, _: settings
    """Its settings with relative paths made absolute: they start at the inventory's folder."""
    moved: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The keys that it had in earlier versions and that are now at the inventory's top level, with their new names."""
    credentials: Callable[[M], Mapping[str, str | None]] = lambda _: {}
    """The sources of its credentials, by what each credential is, such as "API secret"."""


def declarations() -> tuple[ProviderDeclaration[Any], ...]:
    """The declaration of every provider, in the order of `PROVIDERS`."""
    return tuple(_declaration(package) for package in PROVIDERS)


def declaration(name: str) -> ProviderDeclaration[Any]:
    """The declaration of the provider of that name."""
    return next(each for each in declarations() if each.name == name)


def package(name: str) -> str:
    """The package of the provider of that name."""
    return next(each for each in PROVIDERS if _declaration(each).name == name)


def _declaration(package: str) -> ProviderDeclaration[Any]:
    found: ProviderDeclaration[Any] = import_module(f"{package}.declaration").DECLARATION
    return found
