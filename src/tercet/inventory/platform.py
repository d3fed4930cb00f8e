"""The platform as the inventory describes it: sites, nodes and who is who. Pure values, no I/O.

Sites that the inventory calls lost are no part of it: everything that is wanted of the platform is wanted of the sites
that are left. They are known all the same, so that nobody takes their containers for strays, or starts them.

Nothing here depends on an address: nodes name each other, and only `/etc/hosts` on each node (see
components/tailscale/component.py) knows the tailnet addresses. So the same inventory always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tercet.inventory.model import Inventory


class Role(StrEnum):
    """What a node is for. The value is the prefix of the container's name."""

    CONTROL = "consul-nomad"
    APPS = "apps"
    DB = "db"
    WORLD = "world"  # the outside world (headscale with DERP), where the provider makes one


def holds_database(container: str) -> bool:
    """A container of this name is a database node's, also where the inventory no longer has it."""
    return container.startswith(f"{Role.DB}-")


@dataclass(frozen=True, slots=True)
class Site:
    """One physical server: one Consul and Nomad datacenter."""

    name: str
    datacenter: str
    place: str
    initial_primary: bool


@dataclass(frozen=True, slots=True)
class Node:
    """One container. `site` is empty for the outside world alone."""

    name: str
    role: Role
    site: str


@dataclass(frozen=True)
class Platform:
    """Everything that is pure about the platform. `settings` is the inventory as it was read, with defaults.

    `sites` are those that are left, `lost_sites` those that the inventory calls lost, both in the inventory's order.
    """

    name: str
    sites: tuple[Site, ...]
    settings: Inventory
    lost_sites: tuple[Site, ...] = ()

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The specification's nodes, three a site, in the inventory's order."""
        return _nodes_of(self.sites)

    @cached_property
    def lost_nodes(self) -> tuple[Node, ...]:
        """The nodes of the lost sites: never made, started, changed or judged."""
        return _nodes_of(self.lost_sites)

    def losing(self, *names: str) -> Platform:
        """The same platform without these sites, and with all others."""
        if not names and not self.lost_sites:
            return self
        order = [site.name for site in self.settings.sites]
        known = sorted((*self.sites, *self.lost_sites), key=lambda site: order.index(site.name))
        settings = self.settings.model_copy(update={"lost_sites": tuple(n for n in order if n in names)})
        left = tuple(site for site in known if site.name not in names)
        return Platform(self.name, left, settings, tuple(site for site in known if site.name in names))

    @cached_property
    def world(self) -> Node | None:
        """The outside world that the provider makes; None where a real one exists."""
        return Node("world", Role.WORLD, "") if self.settings.world else None

    @cached_property
    def containers(self) -> tuple[Node, ...]:
        """All containers the provider makes: the world first (everything else needs it), then the nodes."""
        return (*((self.world,) if self.world else ()), *self.nodes)

    def of(self, role: Role) -> tuple[Node, ...]:
        """The nodes of a role, in the inventory's order of sites."""
        return tuple(node for node in self.containers if node.role is role)

    @property
    def databases(self) -> tuple[str, ...]:
        """The names of the database nodes, in the inventory's order of sites."""
        return tuple(node.name for node in self.of(Role.DB))

    def at(self, site: str, role: Role) -> Node:
        """The one node of that role at that site."""
        return next(node for node in self.nodes if node.site == site and node.role is role)

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        for node in self.containers:
            if node.name == name:
                return node
        raise KeyError(name)

    def site(self, name: str) -> Site:
        """The site of that name; KeyError if there is none."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    @cached_property
    def initial_primary(self) -> Node:
        """The database node that bootstraps the cluster. After that Patroni decides.

        What is done once for the platform is done there. Where its site is lost, the first one that is left stands in.
        """
        return self.at(next((site.name for site in self.sites if site.initial_primary), self.sites[0].name), Role.DB)

    @property
    def confirming(self) -> int:
        """How many standbys must have a write before it is acknowledged; 0 with a single database left."""
        return min(self.settings.patroni.synchronous_node_count, len(self.sites) - 1)

    def pairs(self) -> Iterator[tuple[Site, Site]]:
        """Every unordered pair of sites."""
        for i, one in enumerate(self.sites):
            for other in self.sites[i + 1 :]:
                yield one, other


def _nodes_of(sites: tuple[Site, ...]) -> tuple[Node, ...]:
    return tuple(
        Node(f"{role.value}-{site.name}", role, site.name)
        for site in sites
        for role in (Role.CONTROL, Role.APPS, Role.DB)
    )
