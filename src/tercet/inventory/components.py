"""The list of components, and what each declares about itself before a platform is opened.

A component is a package. Its `declaration.py` has its `DECLARATION`: what it adds to the inventory, which ports it
uses, which secrets it needs, what it shows in `status`, what it adds to the configuration of other components, and what
its log lines in a node's journal mean. Its other modules do the work. Everything that must know all components is
derived from the declarations, so a new component is one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from importlib import import_module
from typing import Any

from tercet.inventory.accounts import Account
from tercet.inventory.base import Model
from tercet.inventory.generated import Secret
from tercet.inventory.journals import UnitJournal
from tercet.inventory.openings import Opening, Use
from tercet.inventory.platform import Role

COMPONENTS: tuple[str, ...] = (
    "tercet.components.identity",
    "tercet.components.headscale",
    "tercet.components.tailscale",
    "tercet.components.firewall",
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
    """Ports on nodes of a role that the inventory cannot assign to anything else. `why` completes "20000: …"."""

    role: Role
    ports: range
    why: str


class Cost(Enum):
    """What does not work at a site while a process on its apps node does nothing."""

    APPLICATIONS = auto()  # no application at the site reaches a database
    DATABASES = auto()  # the apps node reaches no database, and the first one that it reaches again answers its reads
    PRIMARY = auto()  # the site's proxy does not learn of a new primary


@dataclass(frozen=True)
class Process:
    """A process that drills may hit, by its name in scenarios, on nodes of `roles`. `unit` is its systemd unit, or ""
    if the process belongs to another one. `by_proxy` maps each proxy to the unit, if the unit depends on the proxy."""

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
    """What a component declares. Every field except `components` is optional."""

    components: tuple[str, ...]
    """Each is "MODULE:NAME" in the package: it makes a `converge.component.Component` from a context."""
    of_the_world: bool = False
    """It belongs to the outside world that a provider makes. It is left out if a real one exists."""
    programs: tuple[str, ...] = ()
    """Each is "MODULE:NAME" in the package: an `image.catalog.Package` that the image contains."""
    versions: type[Model] | None = None
    """What it adds to the inventory's `versions`."""
    sources: type[Model] | None = None
    """What it adds to the inventory's `sources`."""
    ports: type[Model] | None = None
    """What it adds to the inventory's `ports`."""
    listens: tuple[Role, ...] = ()
    """The roles of the nodes on which these ports are used."""
    opens: tuple[Opening, ...] = ()
    """What other nodes may use. The firewall of a node drops everything else from other nodes."""
    accounts: tuple[Account, ...] = ()
    """The users that its programs or jobs run as, if tercet creates them."""
    uses: tuple[Use, ...] = ()
    """What users other than root may use. The firewall of a node refuses them every other port of the platform."""
    gossip: tuple[str, ...] = ()
    """The ports of its failure detection. The dead-peer guard does not answer there on behalf of dead nodes."""
    reserved: tuple[Reserved, ...] = ()
    secrets: tuple[Secret, ...] = ()
    """The secrets that tercet generates for it and keeps in the platform's file of secrets."""
    database_users: tuple[str, ...] = ()
    """PostgreSQL users that it creates for itself. The application's user cannot have one of these names."""
    status: tuple[str, ...] = ()
    """Each is "MODULE:NAME" in the package: a `components.status.Part`, its part of the snapshot and of `status`."""
    proof: str = ""
    """A "MODULE:NAME" in the package: makes from a context the `components.proof.Proof` that only `verify` judges."""
    additions: tuple[str, ...] = ()
    """Each is "MODULE:NAME" in the package: what it adds to the configuration of another component, as a value of a
    class that the other component defines for this, such as `components.patroni.parameters.Parameters`."""
    journals: tuple[UnitJournal, ...] = ()
    """The journals in which drills look for its log lines."""
    processes: tuple[Process, ...] = ()
    """Its processes that drills may kill, freeze or keep down."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """Its keys in the inventory's `ports`."""
        return tuple(self.ports.model_fields) if self.ports else ()


def registered() -> dict[str, ComponentDeclaration]:
    """The declaration of every component, by package, in the order of `COMPONENTS`."""
    return {package: import_module(f"{package}.declaration").DECLARATION for package in COMPONENTS}


def declarations() -> tuple[ComponentDeclaration, ...]:
    """The declaration of every component, in the order of `COMPONENTS`."""
    return tuple(registered().values())


def processes() -> dict[str, Process]:
    """All processes that drills may hit, by name."""
    return {process.name: process for component in declarations() for process in component.processes}


def named(package: str, entry: str) -> Any:
    """The object that "MODULE:NAME" names in a component's package."""
    module, _, name = entry.partition(":")
    return getattr(import_module(f"{package}.{module}"), name)
