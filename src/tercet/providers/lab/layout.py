"""The names and addresses of everything that the lab makes for one platform, computed from the inventory alone. Pure.

Two labs never conflict: every path, namespace and control group contains the platform's name, and network devices exist
only in the lab's own namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role
from tercet.providers.lab.declaration import DECLARATION, site_subnet

LABS = Path("/var/lib/tercet/labs")
WORLD = "world"
HOST_OF_ROLE: Mapping[Role, int] = {Role.CONTROL: 11, Role.APPS: 12, Role.DB: 13, Role.WORLD: 20}
DEVICE_NAME_LIMIT = 15  # IFNAMSIZ without the terminating zero


@dataclass(frozen=True, slots=True)
class Network:
    """The network of one site, or of the world: a bridge that has the router's address.

    `mac` is fixed. By default, a bridge takes the lowest MAC address of its ports, so the router's would change
    whenever a container starts or stops, and the site's other nodes would use the old one for seconds.
    """

    name: str
    subnet: IPv4Network
    bridge: str
    mac: str

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet[1]

    @property
    def router(self) -> str:
        """The bridge's own address with its prefix, as ip(8) writes it."""
        return f"{self.gateway}/{self.subnet.prefixlen}"


@dataclass(frozen=True, slots=True)
class Container:
    """One node's container. `port` is its veth device on the bridge; the other end is eth0 in the container.

    `mac` is fixed, so that a restarted node keeps it, as real hardware would. `disk` tells whether its data
    belongs on its own disk.
    """

    name: str
    network: Network
    address: IPv4Address
    port: str
    mac: str
    disk: bool


@dataclass(frozen=True, slots=True)
class Link:
    """The delay of packets from one site to another, in one direction: `micros` microseconds, never zero."""

    source: Network
    target: Network
    micros: int

    @property
    def name(self) -> str:
        return f"{self.source.name}→{self.target.name}"


@dataclass(frozen=True)
class Layout:
    """The whole lab of one platform, including lost sites. `lost` has the names of their containers."""

    platform: str
    networks: tuple[Network, ...]  # the sites in the inventory's order, then the world
    containers: tuple[Container, ...]
    links: tuple[Link, ...]
    lost: frozenset[str] = frozenset()

    @property
    def namespace(self) -> str:
        return f"tercet-{self.platform}"

    @property
    def directory(self) -> Path:
        """This lab's LXC path, which has one folder for each container."""
        return LABS / self.platform

    def folder(self, container: str) -> Path:
        return self.directory / container

    def disk(self, container: str) -> Path:
        """The file that is the container's disk; only database nodes have one."""
        return self.folder(container) / "disk.img"

    @cached_property
    def by_name(self) -> Mapping[str, Container]:
        return {container.name: container for container in self.containers}

    def container(self, name: str) -> Container:
        """The container of that name. Raises TercetError if it is not in the inventory."""
        try:
            return self.by_name[name]
        except KeyError:
            raise TercetError(f"there is no node {name}; the nodes are {', '.join(self.by_name)}") from None

    def network(self, name: str) -> Network:
        """The network of a site, or "world". Raises TercetError if it is not in the inventory."""
        for network in self.networks:
            if network.name == name:
                return network
        known = ", ".join(network.name for network in self.networks)
        raise TercetError(f"there is no site {name}; the networks are {known}")


def layout_of(platform: Platform) -> Layout:
    """The layout of a platform. Raises TercetError if a subnet has no room for the nodes' addresses."""
    whole = platform.losing()
    place = {site.name: index for index, site in enumerate(platform.settings.sites)}
    sites = tuple(
        Network(
            site.name,
            site_subnet(platform.settings, place[site.name]),
            device("br", site.name),
            mac(f"router {site.name}"),
        )
        for site in whole.sites
    )
    world = Network(WORLD, platform.settings.of(DECLARATION).world, "br.world", mac("router"))
    networks = (*sites, world) if platform.world else sites
    by_name = {network.name: network for network in networks}
    if len(by_name) < len(networks):
        raise TercetError(f"a site cannot be called {WORLD}: the lab's outside world has that name")
    containers = tuple(
        Container(
            node.name,
            network,
            host(network, HOST_OF_ROLE[node.role]),
            device(node.role[0], network.name),
            mac(f"node {node.name}"),
            disk=node.role is Role.DB,
        )
        for node in whole.containers
        for network in [by_name[node.site or WORLD]]
    )
    links = tuple(
        Link(by_name[source], by_name[target], round(link.latency_ms * 1000))
        for link in platform.settings.links
        for source, target in (link.between, link.between[::-1])
        if round(link.latency_ms * 1000)
    )
    return Layout(platform.name, networks, containers, links, frozenset(node.name for node in platform.lost_nodes))


def host(network: Network, number: int) -> IPv4Address:
    """The `number`th address of the network."""
    if number >= network.subnet.num_addresses - 1:
        raise TercetError(
            f"the subnet {network.subnet} of {network.name} is too small: its nodes use the addresses .1 and .11 to "
            ".20; use a /27 or larger"
        )
    return network.subnet[number]


def mac(owner: str) -> str:
    """A locally administered unicast MAC address, unique to `owner`."""
    return ":".join(["02", *(f"{byte:02x}" for byte in sha256(owner.encode()).digest()[:5])])


def device(prefix: str, name: str) -> str:
    """A network device's name: readable if it fits, otherwise truncated and made unique by a hash."""
    full = f"{prefix}-{name}"
    if len(full) <= DEVICE_NAME_LIMIT:
        return full
    return f"{full[:8]}-{sha256(name.encode()).hexdigest()[:6]}"
