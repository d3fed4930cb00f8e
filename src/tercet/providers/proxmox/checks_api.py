"""What `tercet doctor` asks a server's API. Changes nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from tercet.errors import TercetError
from tercet.inventory.credentials import read_credential
from tercet.inventory.platform import Platform
from tercet.inventory.proxmox import ProxmoxHost
from tercet.providers.preflight import Check, failed, ok, skipped, warning
from tercet.providers.proxmox.privileges import Privilege, holds, privileges
from tercet.providers.proxmox.site import Site

OLDEST = (8, 1)  # Proxmox VE: the first that passes single devices into containers
TEMPLATE_ROOM_GIB = 1
MIB, GIB = 1 << 20, 1 << 30


async def server_checks(platform: Platform, site: Site, template: str | None) -> AsyncIterator[Check]:
    name, api = site.host.site, site.api
    try:
        await asyncio.to_thread(read_credential, site.host.secret, "API secret")
        version = await api.get("/version")
    except TercetError as error:
        yield failed(name, "API", str(error), "see above; every other check of the API is skipped")
        return
    yield _version(name, str(version.get("version", "")))
    try:
        home = await site.home()
    except TercetError as error:
        yield failed(name, "Proxmox node", str(error), "put `node` right")
        return
    nodes = {str(item["node"]): item for item in await api.get("/nodes")}
    if nodes[home].get("status") != "online":
        yield failed(name, "Proxmox node", f"{home} is {nodes[home].get('status')}", "start it")
        return
    yield ok(name, "Proxmox node", f"{home} is online")
    for part in (_permissions, _storages, _memory, _bridge, _guests, _template):
        try:
            for check in await part(platform, site, home, template):
                yield check
        except TercetError as error:
            title = part.__name__.strip("_")
            yield failed(name, title, str(error), "`tercet up` would fail the same way")


def _version(name: str, version: str) -> Check:
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found >= OLDEST:
        return ok(name, "API", f"Proxmox VE {version}")
    oldest = ".".join(map(str, OLDEST))
    return failed(name, "API", f"Proxmox VE {version}", f"upgrade to {oldest} or newer: it passes /dev/net/tun in")


async def _permissions(_platform: Platform, site: Site, home: str, _template: str | None) -> list[Check]:
    host = site.host
    held = await site.api.get("/access/permissions")
    checks = []
    for privilege in privileges(host, home):
        title = f"permission {privilege.name} on {privilege.path}"
        if holds(held, privilege):
            checks.append(ok(host.site, title))
            continue
        make = failed if privilege.needed else warning
        found = f"missing: {host.login} needs it to {privilege.why}"
        checks.append(make(host.site, title, found, _grant(host.login, privilege)))
    return checks


def _grant(login: str, privilege: Privilege) -> str:
    """Proxmox does not tell a token whether it has privilege separation, so the remedy is for both kinds."""
    user, _, token = login.partition("!")
    command = f"pveum acl modify {privilege.path} --users '{user}' --roles ROLE"
    too = f"; if the token was made with privilege separation, then again with --tokens '{login}'" if token else ""
    return f"{command}, with a ROLE that has {privilege.name}{too}"


async def _storages(_platform: Platform, site: Site, home: str, _template: str | None) -> list[Check]:
    host = site.host
    stored = {str(item["storage"]): item for item in await site.api.get(f"/nodes/{home}/storage")}
    located = await site.located()
    missing = [node for node in site.nodes if node.name not in located]
    disks = sum(host.sizes[node.role].disk for node in missing)
    return [
        _storage(host, stored, "storage", "rootdir", disks),
        _storage(host, stored, "template_storage", "vztmpl", TEMPLATE_ROOM_GIB),
    ]


def _storage(
    host: ProxmoxHost, stored: Mapping[str, Any], key: Literal["storage", "template_storage"], content: str, gib: int
) -> Check:
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
    room = int(item.get("avail", 0)) // GIB
    if room < gib:
        thin = " (thin storage may promise more than it has)" if "thin" in str(item.get("type", "")) else ""
        make = warning if thin else failed
        return make(host.site, title, f"{room} GiB free, {gib} GiB needed{thin}", "make room, or name another storage")
    return ok(host.site, title, f"{room} GiB free")


async def _memory(_platform: Platform, site: Site, home: str, _template: str | None) -> list[Check]:
    title = "memory"
    wanted = sum(size.memory for size in site.host.sizes.values())
    node = next(item for item in await site.api.get("/nodes") if item["node"] == home)
    if not node.get("maxmem"):
        return [skipped(site.host.site, title, "the login may not see it (Sys.Audit)")]
    has = int(node["maxmem"]) // MIB
    found = f"{wanted} MiB for the containers, {has} MiB in the server"
    if wanted > has * 0.9:
        return [warning(site.host.site, title, found, "give the containers less at `sizes`, or the server more")]
    return [ok(site.host.site, title, found)]


async def _bridge(_platform: Platform, site: Site, home: str, _template: str | None) -> list[Check]:
    host, title = site.host, f"bridge {site.host.bridge}"
    bridges = await site.api.get(f"/nodes/{home}/network", type="any_bridge")
    found = next((item for item in bridges if item.get("iface") == host.bridge), None)
    if found is None:
        names = ", ".join(sorted(str(item.get("iface")) for item in bridges)) or "none that the login may see"
        return [failed(host.site, title, f"there is none of that name; found {names}", "name one at `bridge`")]
    if found.get("active") in (0, "0"):
        return [
            failed(host.site, title, "it is down", f"ifup {host.bridge}, or apply the node's network configuration")
        ]
    return [ok(host.site, title)]


async def _guests(platform: Platform, site: Site, home: str, _template: str | None) -> list[Check]:
    """VMIDs that are taken, copies, and containers that moved to another site's server."""
    name = site.host.site
    located = await site.located()
    checks = []
    everyone = {int(item["vmid"]): item for item in await site.api.get("/cluster/resources", type="vm")}
    for node in site.nodes:
        vmid = site.host.vmids[node.role]
        title = f"container {node.name}"
        if (item := located.get(node.name)) is not None:
            where = f"{item.vmid} on {item.host}{', running' if item.running else ', stopped'}"
            if item.host != home:
                remedy = f"migrate it back, unless {item.host} stands at the same place and is no other site's server"
                checks.append(warning(name, title, f"{where}, not on {home}", remedy))
            else:
                checks.append(ok(name, title, where))
        elif vmid is not None and vmid in everyone:
            other = everyone[vmid].get("name") or "another guest"
            checks.append(failed(name, title, f"VMID {vmid} belongs to {other}", "write a free one at `vmids`"))
        else:
            checks.append(ok(name, title, "not made yet"))
    known = {item.vmid for item in located.values()}
    strays = [item for item in await site.listed() if item.vmid not in known]
    for item in strays:
        remedy = f"no node of the inventory: take its tag off, or `pct destroy {item.vmid}` on {item.host}"
        checks.append(warning(name, f"container {item.name}", f"{item.vmid} on {item.host} has the tags", remedy))
    return checks


async def _template(_platform: Platform, site: Site, home: str, template: str | None) -> list[Check]:
    host, title = site.host, "image"
    if template is None:
        return [skipped(host.site, title, "not built yet; `tercet up` builds and uploads it")]
    content = await site.api.get(f"/nodes/{home}/storage/{host.template_storage}/content", content="vztmpl")
    there = any(str(item.get("volid", "")).endswith(f"/{template}") for item in content)
    return [ok(host.site, title, f"{template} is on {host.template_storage}" if there else "`tercet up` uploads it")]
