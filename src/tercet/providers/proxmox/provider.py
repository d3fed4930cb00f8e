"""Proxmox as a provider: three servers, or one cluster, with the platform's nine containers. See docs/production.md.

Invariant: the provider keeps no state except SSH host keys. It finds containers by their tags each time, so it finds a
container after a migration, and never touches one that tercet did not make.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Target, Verb
from tercet.errors import TercetError
from tercet.image.build import Image
from tercet.inventory.platform import Platform
from tercet.providers.base import Survey
from tercet.providers.preflight import Check
from tercet.providers.proxmox.faults import ProxmoxFaults
from tercet.providers.proxmox.guests import GuestChange, ProxmoxKind, changes, platform_tag
from tercet.providers.proxmox.making import PHASE, Made, Maker, destruction, keeping, where
from tercet.providers.proxmox.nodes import Nodes
from tercet.providers.proxmox.pct import in_container
from tercet.providers.proxmox.preflight import preflight
from tercet.providers.proxmox.site import Listed, SiteServer, SiteView, sites_of
from tercet.providers.proxmox.template import ensure_template, packed
from tercet.providers.proxmox.waiting import together
from tercet.remote import lock
from tercet.remote.limits import clean
from tercet.tailnet.control_plane import ControlPlane, check, leave

TAILNET_ADDRESS = ("/usr/local/bin/tailscale", "ip", "-4")
ADDRESS_TIMEOUT = 10.0  # seconds for a node to report its address before it is destroyed


class ProxmoxProvider:
    """One platform's containers on its Proxmox servers.

    New containers are made from `image` (None: not built yet). SSH host keys are pinned in the file `known_hosts`.
    """

    def __init__(self, platform: Platform, image: Image | None, known_hosts: Path) -> None:
        self.platform = platform
        self._image = image
        self._known_hosts = known_hosts
        self._sites = sites_of(platform, known_hosts)
        self._nodes = Nodes(platform, self._sites)
        self._tailnet = ControlPlane(platform.settings.tailnet)

    # ------------------------------------------------------------------------------------------- what exists

    async def survey(self) -> Survey:
        """See providers/base.py. A server that refuses a request is an error, and does not count as away."""
        views, away = await self._views()
        self._refuse_strays(item for view in views.values() for item in view.strays)
        todo: list[Change] = []
        restarts: list[Change] = []
        for name, view in views.items():
            site = self._sites[name]
            mine = [
                change
                for node in site.nodes
                for change in changes(self.platform.name, node, site.host, view.guests.get(node.name))
            ]
            if any(change.verb is Verb.CREATE for change in mine):
                todo.append(self._template_change(site))
            todo += [change for change in mine if change.verb is not Verb.RESTART]
            restarts += [change for change in mine if change.verb is Verb.RESTART]
        running = {node for view in views.values() for node, found in view.guests.items() if found.running}
        return Survey((*todo, *restarts), frozenset(running), away)

    def _refuse_strays(self, strays: Iterable[Listed]) -> None:
        """Raise TercetError if a container may be a node that lost a tag. Otherwise, a second container would be made
        for the node.
        """
        if found := list(dict.fromkeys(f"{item.name} ({item.vmid} on {item.host})" for item in strays)):
            raise TercetError(
                f"expected every container with the tag {platform_tag(self.platform.name)} to have the tags of a site "
                f"and a role of the inventory, found without: {', '.join(found)}. Nothing was changed\n  A site cannot "
                "be renamed: restore its old name. Or restore the tags of the container (site.SITE, role.ROLE), "
                "or remove the platform's tag, and tercet ignores it"
            )

    def _template_change(self, site: SiteServer) -> Change:
        key = f"image {self._image.key}" if self._image else "the image, once it is built"
        target = Target(ProxmoxKind.TEMPLATE, site.host.site, text=f"template of {site.host.site}")
        return Change(Verb.UPLOAD, target, f"{key}, unless {site.host.template_storage} has it")

    async def _views(self) -> tuple[dict[str, SiteView], dict[str, str]]:
        """The containers of each server, read after tasks of earlier runs have ended there; and the nodes of
        unreachable servers, with the reason. Raises Unreachable if no server can be reached.
        """
        silent: dict[str, Unreachable] = {}

        async def of(name: str, site: SiteServer) -> SiteView | None:
            try:
                await site.wait_until_idle()
                return await site.in_time(site.view())
            except Unreachable as error:
                silent[name] = error
                return None

        found = await together({name: of(name, site) for name, site in self._sites.items()})
        self._nodes.forget()
        if len(silent) == len(self._sites):
            raise next(iter(silent.values()))
        away = {node.name: str(error) for name, error in silent.items() for node in self._sites[name].nodes}
        return {name: view for name, view in found.items() if view is not None}, away

    async def running(self) -> frozenset[str]:
        """The nodes that run now. Nodes of a server that does not answer count as not running. Raises TercetError if no
        server answers, or if one refuses the request.
        """
        self._nodes.forget()
        silent: list[Unreachable] = []

        async def of(site: SiteServer) -> dict[str, Listed]:
            try:
                return await site.in_time(site.located())
            except Unreachable as error:
                silent.append(error)
            return {}

        located = await together({name: of(site) for name, site in self._sites.items()})
        if len(silent) == len(self._sites):
            raise silent[0]
        for name, each in located.items():
            self._nodes.take(name, each)
        return frozenset(name for name, item in self._nodes.places.items() if item.running)

    # ------------------------------------------------------------------------------------------------- changes

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        """See providers/base.py. Proxmox's tasks may outlive the holder that started them. The next survey of a site
        waits for them (`SiteServer.wait_until_idle`).
        """
        nodes = self._nodes
        async with lock.held([site.ssh for site in self._sites.values()], self.platform.name, who) as term:
            nodes.term = term
            try:
                yield
            finally:
                nodes.term = None

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """See providers/base.py. Sites are changed in parallel, and so are a site's containers. Restarts follow, one at
        a time. A site that fails does not stop the others. All failures are raised together at the end, with the
        present state.
        """
        began = time.monotonic()
        todo = [change for change in changes if isinstance(change, GuestChange)]
        template = None
        if any(change.verb is Verb.CREATE for change in todo):
            if self._image is None:
                raise TercetError("expected an image to make containers from, found none: run `tercet up`")
            template = await packed(self._image, emit)
        outcome = Made(todo)

        async def at(site: SiteServer) -> None:
            maker = Maker(site, emit, began)
            mine = [change for change in todo if change.site == site.host.site and change.verb is not Verb.RESTART]
            try:
                volume = ""
                if template is not None and any(change.verb is Verb.CREATE for change in mine):
                    volume = await ensure_template(site, template, emit)
                guests = dict((await site.view()).guests) if mine else {}
                await self._carry_out(maker, mine, volume, guests, outcome)
            except TercetError as error:
                outcome.failures.append(f"{site.host.site}: {error}")

        async with asyncio.TaskGroup() as group:
            for site in self._sites.values():
                group.create_task(at(site))
        self._nodes.forget()
        if not outcome.failures:
            await self._restart(todo, emit, began, outcome)
        outcome.judge()

    async def _carry_out(
        self, maker: Maker, todo: Sequence[GuestChange], volume: str, guests: Mapping[str, Any], outcome: Made
    ) -> None:
        """Make all changes of one site: those of a container in order, containers in parallel."""

        async def one(node: str) -> None:
            for change in (change for change in todo if change.node == node):
                text = str(change)
                maker.say("started", text, node)
                try:
                    await self._act(maker, change, volume, guests)
                except TercetError as error:
                    maker.say("failed", f"{text}: {str(error).partition(chr(10))[0]}", node)
                    outcome.failures.append(f"{text}: {error}")
                    return
                outcome.done.append(change)
                maker.say("done", text, node)

        async with asyncio.TaskGroup() as group:
            for node in dict.fromkeys(change.node for change in todo):
                group.create_task(one(node))

    async def _act(self, maker: Maker, change: GuestChange, volume: str, guests: Mapping[str, Any]) -> None:
        if change.verb is Verb.CREATE:
            if change.node in guests:
                raise TercetError(
                    f"expected no container with the tags of {change.node}, as when the plan was made, found "
                    f"{guests[change.node].vmid}: nothing was made; run the command again"
                )
            await maker.create(change, volume)
            return
        host, vmid = where(dict(guests), change)
        match change.verb:
            case Verb.UPDATE:
                await maker.set_options(host, vmid, dict(change.options), change.node)
            case Verb.GROW:
                await maker.grow(host, vmid, dict(change.options)["size"], change.node)
            case Verb.START:
                await maker.start(host, vmid, change.node)
            case _:
                raise TercetError(f"the plan says `{change}`, which is no change here; plan again")

    async def _restart(self, todo: Sequence[GuestChange], emit: Emit, began: float, outcome: Made) -> None:
        """Restart containers one at a time, each after systemd in the previous one responds, and none after a failure.
        A provider does not know whether the platform is healthy, so a caller that waits for that passes one restart at
        a time.
        """
        for change in (change for change in todo if change.verb is Verb.RESTART):
            maker = Maker(self._sites[change.site], emit, began)
            text = str(change)
            maker.say("started", text, change.node)
            try:
                host, vmid = where(dict((await maker.site.view()).guests), change)
                await maker.restart(host, vmid, change.node)
            except TercetError as error:
                maker.say("failed", text, change.node)
                outcome.failures.append(f"{text}: {error}")
                return
            outcome.done.append(change)
            maker.say("done", text, change.node)

    async def preflight(self) -> tuple[Check, ...]:
        """See providers/base.py."""
        template = self._image.archive.name if self._image else None
        return await preflight(self.platform, self._sites, template)

    async def destroy_plan(self) -> tuple[Change, ...]:
        """See providers/base.py. For a server that does not answer, the plan says that its containers are unknown."""

        async def of(name: str, site: SiteServer) -> list[Change]:
            try:
                await site.wait_until_idle()
                return await site.in_time(announced(site))
            except Unreachable as error:
                target = Target(ProxmoxKind.SITE, name, text=f"containers of {name}")
                return [Change(Verb.DESTROY, target, f"unknown now, none if it stays so: {error}")]

        async def announced(site: SiteServer) -> list[Change]:
            listed, strays = await asyncio.gather(site.listed(), site.strays())
            guests = await asyncio.gather(*(site.guest(item) for item in listed))
            destroy_plan = [destruction(item, guest) for item, guest in zip(listed, guests, strict=True)]
            return [*destroy_plan, *(keeping(item) for item in strays)]

        lists = await together({name: of(name, site) for name, site in self._sites.items()})
        return tuple(dict.fromkeys(change for changes in lists.values() for change in changes))

    async def destroy(self, emit: Emit) -> None:
        """See providers/base.py. Templates stay on their storages, because other platforms may use them."""
        began, failures, gone = time.monotonic(), list[str](), set[str]()

        async def at(site: SiteServer) -> None:
            try:
                await site.wait_until_idle()
                listed = await site.in_time(site.listed())
            except TercetError as error:
                failures.append(f"{site.host.site}: {error}")
                return
            for item in listed:  # if one fails, the others are still destroyed
                try:
                    await Maker(site, emit, began).destroy(item)
                    gone.update(site.names(item))
                except TercetError as error:
                    failures.append(f"{site.host.site}: {error}")

        emit(Event(PHASE, "started", f"destroy the containers of {self.platform.name}"))
        addresses, unknown = await self._tailnet_addresses()
        if addresses:
            await check(self._tailnet)
        async with asyncio.TaskGroup() as group:
            for site in self._sites.values():
                group.create_task(at(site))
        self._nodes.forget()
        try:
            left = {node: address for node, address in addresses.items() if node in gone}
            await leave(self._tailnet, left, [node for node in unknown if node in gone], emit)
        except TercetError as error:
            failures.append(str(error))
        if failures:
            raise TercetError("\n".join(failures) + "\nWhat was destroyed before is gone; run `tercet down` again")

    async def _tailnet_addresses(self) -> tuple[dict[str, str], list[str]]:
        """The tailnet addresses of the running nodes, and the names of the other existing nodes, whose addresses are
        unknown.
        """
        running = await self.running()
        addresses: dict[str, str] = {}

        async def of(node: str) -> None:
            with contextlib.suppress(Unreachable):
                done = await self.run(node, TAILNET_ADDRESS, timeout=ADDRESS_TIMEOUT)
                if done.status == 0 and done.stdout.strip():
                    addresses[node] = done.stdout.decode().strip()

        existing = set(self._nodes.places)
        await asyncio.gather(*(of(node) for node in running))
        return addresses, sorted(existing - set(addresses))

    # --------------------------------------------------------------------------------------- programs on nodes

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """See converge/fleet.py."""
        return await self._nodes.run(node, argv, stdin=stdin, timeout=timeout)

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """See converge/fleet.py."""
        return await self._nodes.spawn(node, argv)

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """The command line: `pct exec` through the system's `ssh`, which handles terminals."""
        item, server = await self._nodes.located(node)
        await server.connection()  # pins the host key before `ssh` checks it
        at = server.at
        terminal = f"TERM={os.environ.get('TERM', 'linux')}"
        inside = clean(("env", terminal, *(argv or ("/bin/bash", "-l"))))
        return [
            *(
                "ssh",
                "-t" if sys.stdin.isatty() else "-T",
                "-o",
                "LogLevel=ERROR",
                "-o",
                f"UserKnownHostsFile={self._known_hosts}",
                "-o",
                "StrictHostKeyChecking=yes",
            ),
            *(("-i", str(at.key)) if at.key else ()),
            *("-p", str(at.port), f"{at.user}@{at.host}", server.command(in_container(item.vmid, inside))),
        ]

    # -------------------------------------------------------------------------------------------- housekeeping

    def neighbour(self, site: str) -> AbstractAsyncContextManager[Sequence[str]]:
        raise NotImplementedError(f"not declared: no neighbour at {site}")

    @property
    def faults(self) -> ProxmoxFaults:
        return ProxmoxFaults(self._nodes)

    async def close(self) -> None:
        """See providers/base.py."""
        async with contextlib.AsyncExitStack() as closing:  # all of them, even if one fails
            for site in self._sites.values():
                closing.push_async_callback(site.close)
            closing.push_async_callback(self._nodes.close)


def opened(platform: Platform, image: Image | None, known_hosts: Path) -> ProxmoxProvider:
    """See providers/base.py."""
    return ProxmoxProvider(platform, image, known_hosts)
