"""One site's Proxmox server or its cluster: the API, SSH, and the containers found there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tercet.converge.fleet import Unreachable
from tercet.errors import TercetError
from tercet.inventory.credentials import read_credential
from tercet.inventory.platform import Node, Platform
from tercet.providers.proxmox.api import Api, ApiError, TaskFailed, user_of
from tercet.providers.proxmox.declaration import ProxmoxHost, host_of
from tercet.providers.proxmox.guests import Guest, guest, platform_tag, split_tags, tags_of
from tercet.remote.hostkeys import HostKeys
from tercet.remote.login import SshLogin
from tercet.remote.ssh import SshServer

T = TypeVar("T")
LOOK_TIMEOUT = 30.0  # seconds for a server to list its containers
TASKS = frozenset({"vzcreate", "vzdestroy", "vzstart", "vzstop", "vzshutdown", "vzreboot", "resize"})
CREATE_TIMEOUT = 900.0  # seconds; the image is unpacked, perhaps on slow disks
_log = logging.getLogger("tercet.proxmox")


Locks = defaultdict[tuple[str, ...], asyncio.Lock]
"""Locks for what only one site at a time may do. The key names the action and the place."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A container of this platform in its server's list, without its settings."""

    vmid: int
    host: str  # the Proxmox node that it is on
    name: str
    tags: frozenset[str]
    running: bool


@dataclass(frozen=True)
class SiteView:
    """The state of a site: the Proxmox node for new containers, the containers by node name, and strays."""

    home: str
    guests: Mapping[str, Guest]
    strays: tuple[Listed, ...]


@dataclass
class SiteServer:
    """The server of one site. Connects when it is first needed."""

    host: ProxmoxHost
    nodes: tuple[Node, ...]
    platform: str
    keys: HostKeys
    others: tuple[ProxmoxHost, ...] = ()  # the other sites' servers, which may be nodes of the same cluster
    locks: Locks = field(default_factory=lambda: defaultdict(asyncio.Lock), repr=False)  # shared by a platform's sites
    lost: frozenset[str] = frozenset()  # lost sites: their containers are not strays if a cluster still lists them
    api: Api = field(init=False)
    _servers: dict[str, SshServer] = field(default_factory=dict, repr=False)
    _home: str | None = field(default=None, repr=False)
    _cluster: tuple[str, ...] = field(default=(), repr=False)  # the names of all nodes behind the API

    def __post_init__(self) -> None:
        self.api = Api(self.host, self._secret)

    async def _secret(self) -> str:
        what = f"API secret of {self.host.login} at {self.host.site}"
        return await asyncio.to_thread(read_credential, self.host.secret, what)

    # -------------------------------------------------------------------------------------------- the server

    async def home(self) -> str:
        """The Proxmox node for new containers: the one in the inventory, or else the server itself if it is not in a
        cluster.
        """
        if self._home is None:
            names = sorted(str(item["node"]) for item in await self.api.get("/nodes"))
            if self.host.node is None and len(names) != 1:
                raise TercetError(
                    f"expected one Proxmox node behind {self.api.name}, found the cluster {', '.join(names)}: "
                    f"name the one that gets the containers of {self.host.site} at `node`"
                )
            if self.host.node is not None and self.host.node not in names:
                raise TercetError(
                    f"expected the Proxmox node {self.host.node} behind {self.api.name}, found {', '.join(names)}: "
                    f"put `node` of {self.host.site} right"
                )
            self._home, self._cluster = self.host.node or names[0], tuple(names)
        return self._home

    async def numbering(self) -> asyncio.Lock:
        """The lock that is held from the choice of a VMID until its use. Clusters are known by their nodes' names."""
        await self.home()
        return self.locks[("vmid", *self._cluster)]

    async def ssh(self, host: str | None = None) -> SshServer:
        """SSH to the site's server, or to the cluster's Proxmox node `host`, to which a container migrated."""
        home = await self.home()
        name = host or home
        if name not in self._servers:
            at = await self._at_home(home) if name == home else await self._elsewhere(name)
            self._servers[name] = SshServer(f"{name} ({self.host.site})", at, self.keys)
        return self._servers[name]

    async def _at_home(self, home: str) -> SshLogin:
        """The SSH login of the site's own node. One API may serve a cluster with the servers of several sites."""
        if self.host.ssh_given or len(self._cluster) == 1:
            return self.host.ssh
        try:
            nodes = {str(item.get("name")): item for item in await self.api.get("/cluster/status")}
        except ApiError as error:
            shared = [other.site for other in self.others if other.api == self.host.api and other.node != home]
            if not shared:
                return self.host.ssh
            raise TercetError(
                f"expected to know the address of {home}, as {self.api.name} is the API of {', '.join(shared)} too, "
                f"found that it does not say it ({error.status}): write `ssh.host` of {self.host.site}, or let "
                f"{self.host.login} ask (Sys.Audit on /)"
            ) from None
        node = nodes.get(home, {})
        return self.host.ssh if node.get("local") else replace(self.host.ssh, host=str(node.get("ip") or home))

    async def _elsewhere(self, name: str) -> SshLogin:
        """The SSH login of another node of the cluster: that of another site's server, or else the node's address in
        the cluster.
        """
        named = (other for other in self.others if other.node == name)
        known = next((other.ssh for other in named if other.ssh_given or other.api != self.host.api), None)
        if known is not None:
            return known
        address = name
        with contextlib.suppress(ApiError):  # the query needs Sys.Audit on /; without it, the name may work
            nodes = {str(item.get("name")): item for item in await self.api.get("/cluster/status")}
            address = str(nodes.get(name, {}).get("ip") or name)
        return replace(self.host.ssh, host=address, host_key=None)

    async def in_time(self, look: Coroutine[Any, Any, T]) -> T:
        """The result of a query to the server. Raises Unreachable if it takes longer than LOOK_TIMEOUT."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                return await look
        except TimeoutError:
            raise Unreachable(f"{self.api.name} did not answer within {LOOK_TIMEOUT:g} s") from None

    async def close(self) -> None:
        """Close all connections."""
        await self.api.close()
        for server in self._servers.values():
            await server.close()

    # ---------------------------------------------------------------------------------------- its containers

    async def wait_until_idle(self) -> None:
        """Wait for tasks of an earlier run that change containers. While Proxmox unpacks the image, a new container has
        no tags yet, so without this wait, a second one would be made. A container that is being stopped or destroyed
        still appears to exist.
        """
        for upid in await self.in_time(self._tasks()):
            _log.warning("%s: a task of an earlier run still runs; waiting for it: %s", self.host.site, upid)
            with contextlib.suppress(TaskFailed):  # the next survey shows its result
                await self.api.finish(upid, f"a task of an earlier run at {self.host.site}", CREATE_TIMEOUT)

    async def _tasks(self) -> list[str]:
        """The running tasks that change containers and were started by this login."""
        home = await self.home()
        tasks = await self.api.get(f"/nodes/{home}/tasks", source="active")
        begun = [str(task["upid"]) for task in tasks if task.get("type") in TASKS and not task.get("endtime")]
        return [upid for upid in begun if user_of(upid) == self.host.login]

    async def listed(self) -> list[Listed]:
        """Every container with all tags of one of this site's nodes, on any Proxmox node of the cluster."""
        return await self._own(await self._tagged())

    async def strays(self) -> tuple[Listed, ...]:
        """Containers with the platform's tag, but without the tags of a site and a role in the inventory."""
        return self._no_nodes(await self._tagged())

    async def _tagged(self) -> list[Listed]:
        """Every container with this platform's tag, of any site."""
        found = []
        for item in await self.api.get("/cluster/resources", type="vm"):
            tags = split_tags(str(item.get("tags", "")))
            if item.get("type") == "lxc" and platform_tag(self.platform) in tags and not item.get("template"):
                name, running = str(item.get("name", "")), item.get("status") == "running"
                found.append(Listed(int(item["vmid"]), str(item["node"]), name, tags, running))
        return found

    async def _own(self, tagged: list[Listed]) -> list[Listed]:
        return await self._with_status([item for item in tagged if self.names(item)])

    def _no_nodes(self, tagged: list[Listed]) -> tuple[Listed, ...]:
        sites = {f"site.{name}" for name in (*(host.site for host in (self.host, *self.others)), *self.lost)}
        roles = {f"role.{node.role.value}" for node in self.nodes}
        return tuple(item for item in tagged if not (item.tags & sites and item.tags & roles))

    async def _with_status(self, found: list[Listed]) -> list[Listed]:
        """The same containers with their present status. The cluster's list may be ten seconds old."""
        hosts = sorted({item.host for item in found})
        lists = await asyncio.gather(*(self.api.get(f"/nodes/{host}/lxc") for host in hosts))
        running = {int(item["vmid"]) for items in lists for item in items if item.get("status") == "running"}
        return [replace(item, running=item.vmid in running) for item in found]

    def names(self, item: Listed) -> list[str]:
        """The nodes whose tags a container has, regardless of its host name: one or none."""
        return [node.name for node in self.nodes if tags_of(self.platform, node) <= item.tags]

    async def located(self) -> dict[str, Listed]:
        """The site's containers by node name. Raises TercetError if two have the tags of the same node."""
        return self._by_node(await self.listed())

    def _by_node(self, found: list[Listed]) -> dict[str, Listed]:
        by_node: dict[str, Listed] = {}
        for node in self.nodes:
            mine = [item for item in found if node.name in self.names(item)]
            if len(mine) > 1:
                places = " and ".join(f"{item.vmid} on {item.host}" for item in mine)
                raise TercetError(
                    f"expected one container with the tags of {node.name}, found {places}: take the tag "
                    f"{platform_tag(self.platform)} off the one that is a copy"
                )
            if mine:
                by_node[node.name] = mine[0]
        return by_node

    async def view(self) -> SiteView:
        """The state of the site for planning: its containers with their settings."""
        home, tagged = await asyncio.gather(self.home(), self._tagged())
        located = self._by_node(await self._own(tagged))
        details = await asyncio.gather(*(self.guest(item) for item in located.values()))
        return SiteView(home, dict(zip(located, details, strict=True)), self._no_nodes(tagged))

    async def guest(self, item: Listed) -> Guest:
        """One container with its settings."""
        pending: list[dict[str, Any]] = await self.api.get(f"/nodes/{item.host}/lxc/{item.vmid}/pending")
        return guest(item.vmid, item.host, running=item.running, pending=pending)


def sites_of(platform: Platform, known_hosts: Path) -> dict[str, SiteServer]:
    """The sites of a platform by name. SSH host keys are pinned in the file `known_hosts`."""
    keys, locks = HostKeys(known_hosts), defaultdict[tuple[str, ...], asyncio.Lock](asyncio.Lock)
    hosts = {site.name: host_of(platform.settings, site.name) for site in platform.sites}
    return {
        name: SiteServer(
            host,
            tuple(node for node in platform.nodes if node.site == name),
            platform.name,
            keys,
            tuple(other for other_name, other in hosts.items() if other_name != name),
            locks,
            frozenset(site.name for site in platform.lost_sites),
        )
        for name, host in hosts.items()
    }
