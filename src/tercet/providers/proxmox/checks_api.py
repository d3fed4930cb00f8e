"""The checks that `tercet doctor` makes through a server's API. They change nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tercet.errors import TercetError
from tercet.image.cache import Cache
from tercet.inventory.credentials import read_credential
from tercet.inventory.platform import Node, Platform
from tercet.providers.preflight import Check, failed, ok, skipped, warning
from tercet.providers.proxmox.declaration import ProxmoxHost
from tercet.providers.proxmox.privileges import Privilege, holds, privileges
from tercet.providers.proxmox.site import SiteServer

OLDEST = (8, 4)  # the first Proxmox VE whose pve-container accepts Debian 13 (and can pass in single devices)
TEMPLATE_ROOM_GIB = 1
MEMORY_SHARE = 0.9  # share of the server's memory that guests may use; the server needs the rest
MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Server:
    """The input for the checks of one site's server. `home` is its name in Proxmox, `node` is its entry in /nodes."""

    platform: Platform
    site: SiteServer
    home: str
    node: Mapping[str, Any]
    beside: tuple[SiteServer, ...]  # all sites behind the same API, including this one
    template: str | None

    @property
    def here(self) -> tuple[SiteServer, ...]:
        """The sites whose containers are made on this server."""
        return tuple(site for site in self.beside if (site.host.node or self.home) == self.home)


async def server_checks(
    platform: Platform, sites: Mapping[str, SiteServer], name: str, template: str | None
) -> AsyncIterator[Check]:
    """The checks of one site's server. If its API, its secret or its node fails, the others are skipped."""
    site, api = sites[name], sites[name].api
    title = "API"
    try:
        await asyncio.to_thread(read_credential, site.host.secret, "API secret")
        version = await api.get("/version")
        yield _version(name, str(version.get("version", "")))
        title = "Proxmox node"
        home = await site.home()
        nodes = {str(item["node"]): item for item in await api.get("/nodes")}
    except TercetError as error:
        yield failed(name, title, str(error), "see above; every other check of the API is skipped")
        return
    node = nodes.get(home, {})
    if node.get("status") != "online":
        yield failed(name, title, f"{home} is {node.get('status', 'unknown')}", "start it")
        return
    yield ok(name, title, f"{home} is online")
    beside = tuple(other for other in sites.values() if other.host.api == site.host.api)
    server = Server(platform, site, home, node, beside, template)
    for part in (_permissions, _storages, _memory, _bridge, _guests, _template):
        try:
            for check in await part(server):
                yield check
        except TercetError as error:
            yield failed(name, part.__name__.strip("_"), str(error), "`tercet up` would fail the same way")


def _version(name: str, version: str) -> Check:
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found >= OLDEST:
        return ok(name, "API", f"Proxmox VE {version}")
    oldest = ".".join(map(str, OLDEST))
    return failed(name, "API", f"Proxmox VE {version}", f"upgrade to {oldest} or newer: it takes Debian 13")


async def _permissions(server: Server) -> list[Check]:
    host = server.site.host
    held = await server.site.api.get("/access/permissions")
    checks = []
    for privilege in privileges(host, server.home):
        title = f"permission {privilege.name} on {privilege.path}"
        if holds(held, privilege):
            checks.append(ok(host.site, title))
            continue
        make = failed if privilege.needed else warning
        found = f"missing: {host.login} needs it to {privilege.why}"
        checks.append(make(host.site, title, found, _grant(host.login, privilege)))
    return checks


def _grant(login: str, privilege: Privilege) -> str:
    """Proxmox does not tell whether a token has privilege separation, so the remedy covers both kinds."""
    user, _, token = login.partition("!")
    command = f"pveum acl modify {privilege.path} --users '{user}' --roles ROLE"
    too = f"; if the token was made with privilege separation, then again with --tokens '{login}'" if token else ""
    return f"{command}, with a ROLE that has {privilege.name}{too}"


async def _storages(server: Server) -> list[Check]:
    host = server.site.host
    stored = {str(item["storage"]): item for item in await server.site.api.get(f"/nodes/{server.home}/storage")}
    everywhere = stored.get(host.storage, {}).get("shared") in (1, "1")
    on_it = [site for site in (server.beside if everywhere else server.here) if site.host.storage == host.storage]
    disks = {site.host.site: sum(site.host.sizes[node.role].disk for node in await _unmade(site)) for site in on_it}
    return [
        _storage(host, stored, "storage", "rootdir", disks),
        _storage(host, stored, "template_storage", "vztmpl", {host.site: TEMPLATE_ROOM_GIB}),
    ]


async def _unmade(site: SiteServer) -> list[Node]:
    """The site's nodes without a container."""
    located = await site.located()
    return [node for node in site.nodes if node.name not in located]


def _storage(
    host: ProxmoxHost,
    stored: Mapping[str, Any],
    key: Literal["storage", "template_storage"],
    content: str,
    needs: Mapping[str, int],
) -> Check:
    """`needs` maps each site that uses the storage to the GiB that it needs."""
    name = host.storage if key == "storage" else host.template_storage
    title = f"storage {name} takes {content}"
    item = stored.get(name)
    if item is None:
        known = ", ".join(sorted(stored)) or "none that the login may see"
        return failed(host.site, title, f"there is no such storage; found {known}", f"name one at `{key}`")
    contents = str(item.get("content", "")).split(",")
    if content not in contents:
        remedy = f"pvesm set {name} --content {','.join([*filter(None, contents), content])}"
        return failed(host.site, title, f"it takes {', '.join(contents)}", remedy)
    if not item.get("active", 1) or not item.get("enabled", 1):
        return failed(host.site, title, "it is not active", f"see `pvesm status` for {name}")
    room, gib = int(item.get("avail", 0)) // GIB, sum(needs.values())
    if room < gib:
        thin = " (thin storage may promise more than it has)" if "thin" in str(item.get("type", "")) else ""
        make = warning if thin else failed
        found = f"{room} GiB free, {gib} GiB needed{_by(site for site in needs if needs[site])}{thin}"
        return make(host.site, title, found, "make room, or name another storage")
    return ok(host.site, title, f"{room} GiB free")


def _by(sites: Iterable[str]) -> str:
    """ " by A and B", if several sites are involved."""
    names = sorted(sites)
    return f" by {' and '.join(names)}" if len(names) > 1 else ""


async def _memory(server: Server) -> list[Check]:
    """Compares the guests' maximum with the server's memory, and what new guests need with the free memory."""
    name, title, node = server.site.host.site, "memory", server.node
    if not node.get("maxmem"):
        return [skipped(name, title, "the login may not see it (Sys.Audit)")]
    wanted, starting, mine = 0, 0, set[int]()
    for site in server.here:
        located = await site.located()
        mine |= {item.vmid for item in located.values()}
        for each in site.nodes:
            size = site.host.sizes[each.role].memory
            wanted += size
            if (item := located.get(each.name)) is None or not item.running:
                starting += size
    resources = await server.site.api.get("/cluster/resources", type="vm")
    running = [item for item in resources if item.get("node") == server.home and item.get("status") == "running"]
    others = sum(int(item.get("maxmem", 0)) for item in running if int(item["vmid"]) not in mine) // MIB
    has, used = int(node["maxmem"]) // MIB, int(node.get("mem", 0)) // MIB
    by = _by(site.host.site for site in server.here)
    found = f"{wanted} MiB wanted{by}, {others} MiB promised to other guests that run, {has} MiB in the server"
    if wanted + others > has * MEMORY_SHARE:
        return [warning(name, title, found, "give the containers less at `sizes`, or the server more")]
    if starting > has - used:
        found = f"{starting} MiB for containers that do not run yet, {has - used} of {has} MiB free"
        return [warning(name, title, found, "see what takes the server's memory; part of it may be a cache of ZFS")]
    return [ok(name, title, found)]


async def _bridge(server: Server) -> list[Check]:
    host, title = server.site.host, f"bridge {server.site.host.bridge}"
    bridges = await server.site.api.get(f"/nodes/{server.home}/network", type="any_bridge")
    found = next((item for item in bridges if item.get("iface") == host.bridge), None)
    if found is None:
        names = ", ".join(sorted(str(item.get("iface")) for item in bridges)) or "none that the login may see"
        return [failed(host.site, title, f"there is none of that name; found {names}", "name one at `bridge`")]
    if found.get("active") in (0, "0"):
        return [
            failed(host.site, title, "it is down", f"ifup {host.bridge}, or apply the node's network configuration")
        ]
    return [ok(host.site, title)]


async def _guests(server: Server) -> list[Check]:
    """Checks for VMIDs that are in use, for duplicates, and for containers on another Proxmox node than the site's."""
    site, home, name = server.site, server.home, server.site.host.site
    located = await site.located()
    checks = []
    everyone = {int(item["vmid"]): item for item in await site.api.get("/cluster/resources", type="vm")}
    for node in site.nodes:
        vmid = site.host.vmids[node.role]
        title = f"container {node.name}"
        if (item := located.get(node.name)) is not None:
            where = f"{item.vmid} on {item.host}{', running' if item.running else ', stopped'}"
            if item.host != home:
                remedy = f"migrate it back, unless {item.host} is at the same place and not the server of another site"
                checks.append(warning(name, title, f"{where}, not on {home}", remedy))
            else:
                checks.append(ok(name, title, where))
        elif vmid is not None and vmid in everyone:
            other = everyone[vmid].get("name") or "another guest"
            checks.append(failed(name, title, f"VMID {vmid} belongs to {other}", "write a free one at `vmids`"))
        else:
            checks.append(ok(name, title, "not made yet"))
    for item in await site.strays():
        found = f"{item.vmid} on {item.host} has the platform's tag, but not a site's and a role's of the inventory"
        remedy = f"give it the tags that it lost, or take that one off, or `pct destroy {item.vmid}` on {item.host}"
        checks.append(failed(name, f"container {item.name}", found, remedy))
    return checks


async def _template(server: Server) -> list[Check]:
    host, title, template = server.site.host, "image", server.template
    if template is None:
        return [skipped(host.site, title, "not built yet; `tercet up` builds and uploads it")]
    path = f"/nodes/{server.home}/storage/{host.template_storage}/content"
    content = await server.site.api.get(path, content="vztmpl")
    volume = f"{host.template_storage}:vztmpl/{template}"
    there = next((int(item.get("size", 0)) for item in content if item.get("volid") == volume), None)
    if there is None:
        return [ok(host.site, title, "`tercet up` uploads it")]
    images = Cache(server.platform.settings.cache).images
    packed = next((path.stat().st_size for path in images.glob(f"*/{template}")), there)
    if there != packed:
        found = (
            f"{template} is torn on {host.template_storage}, {there} of {packed} bytes: `tercet up` uploads it again"
        )
        return [ok(host.site, title, found)]
    return [ok(host.site, title, f"{template} is on {host.template_storage}")]
