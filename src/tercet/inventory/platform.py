"""The platform as the inventory describes it: sites, nodes and roles. Pure values, no I/O.

Sites that the inventory declares lost are not part of it: the desired state covers only the remaining sites. The lost
sites are still known, so that their containers are not treated as strays and not started.

Nothing here depends on an address: nodes refer to each other by name, and only `/etc/hosts` on each node (see
components/tailscale/component.py) has the tailnet addresses. So the same inventory always gives the same bytes.
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
    """The role of a node. The value is the prefix of the container's name."""

    CONTROL = "consul-nomad"
    APPS = "apps"
    DB = "db"
    WORLD = "world"  # the outside world (headscale with DERP), if the provider makes one


def holds_database(container: str) -> bool:
    """Whether a container of this name is a database node's, even if it is not in the inventory any more."""
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
    """One container. `site` is empty only for the outside world."""

    name: str
    role: Role
    site: str


@dataclass(frozen=True)
class Platform:
    """The platform as a pure value. `settings` is the inventory as it was read, with defaults.

    `sites` has the remaining sites, `lost_sites` those that the inventory declares lost, both in the inventory's order.
    """

    name: str
    sites: tuple[Site, ...]
    settings: Inventory
    lost_sites: tuple[Site, ...] = ()

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The specification's nodes, three per site, in the inventory's order."""
        return _nodes_of(self.sites)

    @cached_property
    def lost_nodes(self) -> tuple[Node, ...]:
        """The nodes of the lost sites. They are never made, started, changed or judged."""
        return _nodes_of(self.lost_sites)

    def losing(self, *names: str) -> Platform:
        """The same platform with exactly these sites lost."""
        if not names and not self.lost_sites:
            return self
        order = [site.name for site in self.settings.sites]
        known = sorted((*self.sites, *self.lost_sites), key=lambda site: order.index(site.name))
        settings = self.settings.model_copy(update={"lost_sites": tuple(n for n in order if n in names)})
        left = tuple(site for site in known if site.name not in names)
        return Platform(self.name, left, settings, tuple(site for site in known if site.name in names))

    @cached_property
    def world(self) -> Node | None:
        """The outside world that the provider makes; None if the real one is used."""
        return Node("world", Role.WORLD, "") if self.settings.world else None

    @cached_property
    def containers(self) -> tuple[Node, ...]:
        """All containers that the provider makes: first the world, because all others need it, then the nodes."""
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
        """The node of that name. Raises KeyError if it does not exist."""
        for node in self.containers:
            if node.name == name:
                return node
        raise KeyError(name)

    def site(self, name: str) -> Site:
        """The site of that name. Raises KeyError if it does not exist."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    @cached_property
    def initial_primary(self) -> Node:
        """The database node that bootstraps the cluster. After that, Patroni decides.

        Actions that happen once for the platform happen there. If its site is lost, the first remaining database node
        is used instead.
        """
        return self.at(next((site.name for site in self.sites if site.initial_primary), self.sites[0].name), Role.DB)

    @property
    def confirming(self) -> int:
        """The number of standbys that must have a write before it is acknowledged; 0 if a single database is left."""
        return min(self.settings.patroni.synchronous_node_count, len(self.sites) - 1)

    def latency_ms(self, site: str, other: str) -> float:
        """The latency between two sites in milliseconds, in one direction; 0 if the inventory does not say."""
        both = {site, other}
        return next((link.latency_ms for link in self.settings.links if set(link.between) == both), 0.0)

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
