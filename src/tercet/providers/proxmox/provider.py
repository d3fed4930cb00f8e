"""Proxmox as a provider: three servers, or one cluster, with the platform's nine containers. See docs/production.md.

Invariant: nothing is remembered but SSH host keys. What exists is read from the servers each time, by tags, so a
container is found wherever it migrated, and one that tercet did not make is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.errors import TercetError
from tercet.image.build import Image
from tercet.inventory.platform import Platform
from tercet.providers.base import NoFaults
from tercet.providers.proxmox import lock
from tercet.providers.proxmox.guests import GuestChange, changes
from tercet.providers.proxmox.making import PHASE, Maker, where
from tercet.providers.proxmox.reach import as_process, clean, gone, in_container, leashed, limited
from tercet.providers.proxmox.site import Listed, Site, View, sites_of
from tercet.providers.proxmox.ssh import SshServer
from tercet.providers.proxmox.tailnet import Tailnet, leave
from tercet.providers.proxmox.template import ensure_template, packed

T = TypeVar("T")
LOOK_TIMEOUT = 30.0  # seconds for all servers to say what runs
TAILNET_ADDRESS = ("/usr/local/bin/tailscale", "ip", "-4")
ADDRESS_TIMEOUT = 10.0  # seconds for a node to say its address before it is destroyed


class ProxmoxProvider:
    """One platform's containers on its Proxmox servers.

    `image` is what new containers are made from (None: not built yet); `known_hosts` is where SSH keys are pinned.
    """

    def __init__(self, platform: Platform, image: Image | None, known_hosts: Path) -> None:
        self.platform = platform
        self._image = image
        self._known_hosts = known_hosts
        self._sites = sites_of(platform, known_hosts)
        self._places: dict[str, Listed] = {}
        self._finding = {name: asyncio.Lock() for name in self._sites}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tailnet = Tailnet(platform.settings.tailnet)

    # ------------------------------------------------------------------------------------------- what exists

    async def survey(self) -> tuple[Change, ...]:
        """See providers/base.py. Raises TercetError where a server cannot be asked: what it needs is unknown."""
        views = await self._views()
        todo: list[Change] = []
        restarts: list[Change] = []
        for name, site in self._sites.items():
            mine = [
                change
                for node in site.nodes
                for change in changes(self.platform.name, node, site.host, views[name].guests.get(node.name))
            ]
            if any(change.verb == "create" for change in mine):
                todo.append(self._template_change(site))
            todo += [change for change in mine if change.verb != "restart"]
            restarts += [change for change in mine if change.verb == "restart"]
        return (*todo, *restarts)

    def _template_change(self, site: Site) -> Change:
        key = f"image {self._image.key}" if self._image else "the image, once it is built"
        return Change("upload", f"template of {site.host.site}", f"{key}, unless {site.host.template_storage} has it")

    async def _views(self) -> dict[str, View]:
        self._on_this_loop()
        views = await _together({name: site.look() for name, site in self._sites.items()})
        self._places.clear()
        return views

    async def running(self) -> frozenset[str]:
        """See providers/base.py. The nodes of a server that does not answer do not run, as far as anybody knows.

        Raises TercetError where no server answers, or where one answers and refuses.
        """
        self._on_this_loop()
        self._places.clear()
        silent: list[Unreachable] = []

        async def of(site: Site) -> dict[str, Listed]:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT):
                    return await site.located()
            except Unreachable as error:
                silent.append(error)
            except TimeoutError:
                silent.append(Unreachable(f"{site.api.name} did not answer within {LOOK_TIMEOUT:g} s"))
            return {}

        located = await _together({name: of(site) for name, site in self._sites.items()})
        if len(silent) == len(self._sites):
            raise silent[0]
        for each in located.values():
            self._places |= each
        return frozenset(name for name, item in self._places.items() if item.running)

    # -------------------------------------------------------------------------------------------- what is made

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        """See providers/base.py."""
        self._on_this_loop()
        async with lock.held(list(self._sites.values()), self.platform.name, who):
            yield

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        """See providers/base.py. Sites side by side, a site's containers too; then restarts, one at a time.

        A site that fails does not stop the others; all failures are raised together at the end.
        """
        self._on_this_loop()
        began = time.monotonic()
        todo = [change for change in changes if isinstance(change, GuestChange)]
        template = None
        if any(change.verb == "create" for change in todo):
            if self._image is None:
                raise TercetError("expected an image to make containers from, found none: run `tercet up`")
            template = await packed(self._image, self._image.rootfs.parent, emit)
        failures: list[str] = []

        async def at(site: Site) -> None:
            maker = Maker(site, emit, began)
            mine = [change for change in todo if change.site == site.host.site and change.verb != "restart"]
            try:
                volume = ""
                if template is not None and any(change.verb == "create" for change in mine):
                    volume = await ensure_template(site, template, emit)
                guests = dict((await site.look()).guests) if mine else {}
                await self._carry_out(maker, mine, volume, guests, failures)
            except TercetError as error:
                failures.append(f"{site.host.site}: {error}")

        async with asyncio.TaskGroup() as group:
            for site in self._sites.values():
                group.create_task(at(site))
        self._places.clear()
        if not failures:
            await self._restart(todo, emit, began, failures)
        if failures:
            raise TercetError("\n".join(failures))

    async def _carry_out(
        self, maker: Maker, todo: Sequence[GuestChange], volume: str, guests: Mapping[str, Any], failures: list[str]
    ) -> None:
        """All changes of one site: each container's in order, containers side by side."""

        async def one(node: str) -> None:
            for change in (change for change in todo if change.node == node):
                text = f"{change.verb} {change.what}"
                maker.say("started", text, node)
                try:
                    await self._act(maker, change, volume, guests)
                except TercetError as error:
                    maker.say("failed", f"{text}: {str(error).partition(chr(10))[0]}", node)
                    failures.append(f"{text}: {error}")
                    return
                maker.say("done", text, node)

        async with asyncio.TaskGroup() as group:
            for node in dict.fromkeys(change.node for change in todo):
                group.create_task(one(node))

    async def _act(self, maker: Maker, change: GuestChange, volume: str, guests: Mapping[str, Any]) -> None:
        if change.verb == "create":
            await maker.create(change, volume)
            return
        host, vmid = where(dict(guests), change)
        match change.verb:
            case "update":
                await maker.set_options(host, vmid, dict(change.options), change.node)
            case "grow":
                await maker.grow(host, vmid, dict(change.options)["size"], change.node)
            case "start":
                await maker.start(host, vmid, change.node)
            case _:
                raise TercetError(f"the plan says `{change.verb} {change.what}`, which is no change here; plan again")

    async def _restart(self, todo: Sequence[GuestChange], emit: Emit, began: float, failures: list[str]) -> None:
        """One container after another, and none after one that failed: the others keep the quorums."""
        for change in (change for change in todo if change.verb == "restart"):
            maker = Maker(self._sites[change.site], emit, began)
            text = f"restart {change.what}"
            maker.say("started", text, change.node)
            try:
                host, vmid = where(dict((await maker.site.look()).guests), change)
                await maker.restart(host, vmid, change.node)
            except TercetError as error:
                maker.say("failed", text, change.node)
                failures.append(f"{text}: {error}")
                return
            maker.say("done", text, change.node)

    async def doomed(self) -> tuple[Change, ...]:
        """What `destroy` would destroy, with every volume that goes with it. For the confirmation of `down`."""
        self._on_this_loop()
        lines: list[Change] = []
        for site in self._sites.values():
            for item in await site.listed():
                guest = await site.guest(item)
                database = "role.db" in item.tags
                volumes = ", ".join(guest.volumes()) or "no volume"
                lines.append(
                    Change(
                        "destroy",
                        f"container {item.name} ({item.vmid} on {item.host})",
                        f"{'DATABASE, ' if database else ''}with {volumes}",
                    )
                )
        return tuple(lines)

    async def destroy(self, emit: Emit) -> None:
        """See providers/base.py. Templates stay on their storages: other platforms may be made from them."""
        self._on_this_loop()
        began, failures = time.monotonic(), list[str]()

        async def at(site: Site) -> None:
            try:
                for item in await site.listed():
                    await Maker(site, emit, began).destroy(item)
            except TercetError as error:
                failures.append(f"{site.host.site}: {error}")

        emit(Event(PHASE, "started", f"destroy the containers of {self.platform.name}"))
        addresses, unknown = await self._tailnet_addresses()
        async with asyncio.TaskGroup() as group:
            for site in self._sites.values():
                group.create_task(at(site))
        self._places.clear()
        try:
            await leave(self._tailnet, addresses, unknown, emit)
        except TercetError as error:
            failures.append(str(error))
        if failures:
            raise TercetError("\n".join(failures) + "\nWhat was destroyed before is gone; run `tercet down` again")

    async def _tailnet_addresses(self) -> tuple[dict[str, str], list[str]]:
        """The tailnet addresses of the nodes that run, and the names of existing ones that did not say theirs."""
        running = await self.running()
        addresses: dict[str, str] = {}

        async def of(node: str) -> None:
            with contextlib.suppress(Unreachable):
                done = await self.run(node, TAILNET_ADDRESS, timeout=ADDRESS_TIMEOUT)
                if done.status == 0 and done.stdout.strip():
                    addresses[node] = done.stdout.decode().strip()

        existing = set(self._places)
        await asyncio.gather(*(of(node) for node in running))
        return addresses, sorted(existing - set(addresses))

    # ----------------------------------------------------------------------------------------- what is reached

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """See converge/fleet.py."""
        self._on_this_loop()
        said: str | None = ""
        try:
            async with asyncio.timeout(timeout):
                for _ in range(2):
                    item, server = await self._reached(node)
                    command = server.command(in_container(item.vmid, limited(argv, timeout)))
                    done = await server.run(command, stdin=stdin, timeout=timeout)
                    said = gone(done)
                    if said is None:
                        return done
                    self._places.pop(node, None)  # it moved to another server, or stopped
        except TimeoutError:
            shown = " ".join(argv)[:80]
            raise Unreachable(f"{node}: `{shown}` did not end within {timeout:g} s and was killed") from None
        except TercetError as error:
            raise _unreachable(node, error) from error
        raise Unreachable(f"{node}: {said}; `tercet up` starts it")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """See converge/fleet.py."""
        self._on_this_loop()
        try:
            item, server = await self._reached(node)
            return as_process(await server.spawn(server.command(in_container(item.vmid, leashed(argv)))))
        except TercetError as error:
            raise _unreachable(node, error) from error

    def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        """The system's own `ssh`, which knows terminals, with `pct exec` behind it."""

        async def find() -> tuple[Listed, SshServer]:
            other = ProxmoxProvider(self.platform, None, self._known_hosts)
            item, server = await other._reached(node)
            await server.connection()  # so that its key is pinned before `ssh` asks
            await other.close()
            return item, server

        item, server = _in_own_loop(find())
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

    async def _reached(self, node: str) -> tuple[Listed, SshServer]:
        """Where a node's container is, and the SSH of the server it is on."""
        site = self._sites[self.platform.node(node).site]
        async with self._finding[site.host.site]:
            if node not in self._places:
                self._places |= await site.located()
        item = self._places.get(node)
        if item is None:
            raise Unreachable("there is no such container; `tercet up` makes it")
        if not item.running:
            self._places.pop(node, None)
            raise Unreachable("the container does not run; `tercet up` starts it")
        return item, await site.ssh(item.host)

    # -------------------------------------------------------------------------------------------- housekeeping

    @cached_property
    def faults(self) -> NoFaults:
        return NoFaults("proxmox")

    async def close(self) -> None:
        """End all connections."""
        for site in self._sites.values():
            await site.close()

    def _on_this_loop(self) -> None:
        """Connections belong to an event loop; a new one starts with none."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                self._sites = sites_of(self.platform, self._known_hosts)
                self._finding = {name: asyncio.Lock() for name in self._sites}
                self._places.clear()
            self._loop = loop


def _unreachable(node: str, error: TercetError) -> Unreachable:
    return Unreachable(f"{node}: {error}")


async def _together(work: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T]:
    """All results by name. All failures are raised together, after every one of them has ended."""
    results = await asyncio.gather(*work.values(), return_exceptions=True)
    found: dict[str, T] = {}
    failures: list[TercetError] = []
    for name, result in zip(work, results, strict=True):
        match result:
            case TercetError():
                failures.append(result)
            case BaseException():
                raise result
            case _:
                found[name] = result
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise TercetError("\n".join(str(failure) for failure in failures))
    return found


def _in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work for a caller that is not, whether or not a loop runs in its thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
