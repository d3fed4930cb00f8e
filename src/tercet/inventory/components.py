"""Which components there are, and what each declares of itself before a platform is opened.

A component is a package. Its `declaration.py` has its `DECLARATION`: what it adds to the inventory, which ports it
takes, which secrets it needs, what it shows in `status`, what it adds to the configuration of others, what may be found
of it in a node's journal. What it does is in the modules beside it. Everything that must know all components is derived
from the declarations, and a new component is one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from importlib import import_module
from typing import Any

from tercet.inventory.base import Model
from tercet.inventory.generated import Secret
from tercet.inventory.journals import UnitJournal
from tercet.inventory.platform import Role

COMPONENTS: tuple[str, ...] = (
    "tercet.components.identity",
    "tercet.components.headscale",
    "tercet.components.tailscale",
    "tercet.components.consul",
    "tercet.components.dcs",
    "tercet.components.guard",
    "tercet.components.nomad",
    "tercet.components.patroni",
    "tercet.components.proxy",
)
"""The package of each component, in the order in which a reader should meet them."""


@dataclass(frozen=True)
class Reserved:
    """Ports of a node that the inventory cannot give to anything else. `why` completes "9898: "."""

    role: Role
    ports: range
    why: str


class Cost(Enum):
    """What a site lacks while a process on its apps node does nothing."""

    APPLICATIONS = auto()  # no application of the site gets through
    DATABASES = auto()  # the apps node sees no database, and the first one that it sees again answers its reads
    PRIMARY = auto()  # the site's proxy does not learn of a new primary


@dataclass(frozen=True)
class Process:
    """A process that drills may hit, by its name in scenarios, on nodes of `roles`. `unit` is its systemd unit, "" if
    the process belongs to another one. `by_proxy` has its unit by the proxy that runs, where it depends on that."""

    name: str
    unit: str
    roles: tuple[Role, ...]
    costs: tuple[Cost, ...] = ()
    by_proxy: Mapping[str, str] = field(default_factory=dict, hash=False)

    def unit_with(self, proxy: str) -> str:
        """Its unit on a platform with that proxy."""
        return self.by_proxy.get(proxy, self.unit)


@dataclass(frozen=True)
class ComponentDeclaration:
    """What is a component's own. Every key but `components` is optional."""

    components: tuple[str, ...]
    """Each "MODULE:NAME", in the package: what makes a `converge.component.Component` from a context."""
    of_the_world: bool = False
    """It belongs to the outside world that a provider makes. It is left out if a real one exists."""
    programs: tuple[str, ...] = ()
    """Each "MODULE:NAME", in the package: an `image.catalog.Component` that the image holds."""
    versions: type[Model] | None = None
    """What it adds to the inventory's `versions`."""
    sources: type[Model] | None = None
    """What it adds to the inventory's `sources`."""
    ports: type[Model] | None = None
    """What it adds to the inventory's `ports`."""
    listens: tuple[Role, ...] = ()
    """The roles of the nodes on which these ports are taken."""
    gossip: tuple[str, ...] = ()
    """The ports of its failure detection. The dead-peer guard does not answer there on behalf of dead nodes."""
    reserved: tuple[Reserved, ...] = ()
    secrets: tuple[Secret, ...] = ()
    """What tercet generates for it and keeps in the platform's file of secrets."""
    database_users: tuple[str, ...] = ()
    """Users of PostgreSQL that it makes for itself. The application's cannot have such a name."""
    status: tuple[str, ...] = ()
    """Each "MODULE:NAME", in the package: a `components.status.Part`, its part of the snapshot and of `status`."""
    proof: str = ""
    """A "MODULE:NAME", in the package: from a context, the `components.proof.Proof` that `verify` alone judges."""
    additions: tuple[str, ...] = ()
    """Each "MODULE:NAME", in the package: what it adds to the configuration of another component, as a value of a class
    that the other one has for it, such as `components.patroni.parameters.Parameters`."""
    journals: tuple[UnitJournal, ...] = ()
    """What drills may find of it in a node's journal."""
    processes: tuple[Process, ...] = ()
    """What drills may kill, freeze or keep down of it."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """Its keys of the inventory's `ports`."""
        return tuple(self.ports.model_fields) if self.ports else ()


def registered() -> dict[str, ComponentDeclaration]:
    """What every component declares, by its package, in their order."""
    return {package: import_module(f"{package}.declaration").DECLARATION for package in COMPONENTS}


def declarations() -> tuple[ComponentDeclaration, ...]:
    """What every component declares, in their order."""
    return tuple(registered().values())


def processes() -> dict[str, Process]:
    """Whatever drills may hit, by name."""
    return {process.name: process for component in declarations() for process in component.processes}


def named(package: str, entry: str) -> Any:
    """What "MODULE:NAME" is in a component's package."""
    module, _, name = entry.partition(":")
    return getattr(import_module(f"{package}.{module}"), name)
