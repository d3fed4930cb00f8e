"""Carries out the changes of a plan on one site's containers. Each can be repeated, wherever it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.providers.proxmox.api import ApiError
from tercet.providers.proxmox.guests import TUN, Guest, GuestChange, creation, platform_tag, split_tags
from tercet.providers.proxmox.pct import in_container
from tercet.providers.proxmox.site import CREATE_TIMEOUT, Listed, SiteServer
from tercet.remote.limits import limited

PHASE = "containers"
POWER_TIMEOUT = 180.0  # seconds to start, stop or shut down
SHUTDOWN_AFTER = 60  # seconds in which a container must shut down before it is stopped
DESTROY_TIMEOUT = 300.0
READY_TIMEOUT = 90.0  # seconds from a container's start until systemd in it answers
VMID_TRIES = 5  # another creation on the cluster may have taken the VMID in the meantime

# Waits until systemd responds over D-Bus, so that units can be queried and changed.
READY = ("sh", "-c", "until [ -S /run/dbus/system_bus_socket ]; do sleep 0.1; done")


@dataclass(frozen=True)
class Maker:
    """Changes the containers of one site."""

    site: SiteServer
    emit: Emit
    began: float

    def say(self, state: str, text: str, node: str = "") -> None:
        self.emit(Event(PHASE, state, text, node, time.monotonic() - self.began))

    async def create(self, change: GuestChange, template: str) -> None:
        """Create a container, pass its device in, and start it. If this is interrupted after the creation, the next
        plan contains the rest.
        """
        site, node = self.site, next(node for node in self.site.nodes if node.name == change.node)
        options = creation(site.platform, node, site.host, template)
        home, api = await site.home(), site.api
        if api.is_root:
            options["dev0"] = TUN
        what = f"create {node.name}"
        for attempt in range(1, VMID_TRIES + 1):
            try:
                async with await site.numbering():
                    vmid = site.host.vmids[node.role] or int(await api.get("/cluster/nextid"))
                    upid = await api.post(f"/nodes/{home}/lxc", vmid=vmid, **options)
                break
            except ApiError as error:
                if "already exists" not in error.reason:
                    raise
                if site.host.vmids[node.role] is not None:
                    raise TercetError(
                        f"expected the VMID {vmid} of {node.name} to be free on {home}, found a guest that is not "
                        f"tagged as this platform's, which tercet does not touch: choose another at `vmids`"
                    ) from None
                if attempt == VMID_TRIES:
                    raise
        await self._warn(await api.finish(str(upid), what, CREATE_TIMEOUT), node.name)
        if not api.is_root:
            await self.set_options(home, vmid, {"dev0": TUN}, node.name)
        await self.start(home, vmid, node.name)

    async def set_options(self, host: str, vmid: int, options: dict[str, str], node: str) -> None:
        """Change settings. If the login is a token, devices are set over SSH, because Proxmox lets only root@pam set
        them.
        """
        api = self.site.api
        devices = {key: value for key, value in options.items() if key.startswith("dev") and not api.is_root}
        others = {key: value for key, value in options.items() if key not in devices}
        if others:
            await api.put(f"/nodes/{host}/lxc/{vmid}/config", **others)
        if devices:
            server = await self.site.ssh(host)
            words = [word for key, value in devices.items() for word in (f"-{key}", value)]
            done = await server.run(server.command(("pct", "set", str(vmid), *words)), timeout=60)
            if done.status != 0:
                said = done.stderr.decode(errors="replace").strip() or f"status {done.status}"
                raise TercetError(
                    f"expected `pct set` on {server.name} to pass {TUN} into {node}, found: {said}. The container "
                    "exists without it; `tercet up` tries again"
                )

    async def grow(self, host: str, vmid: int, size: str, node: str) -> None:
        """Enlarge the root disk."""
        path, options = f"/nodes/{host}/lxc/{vmid}/resize", {"disk": "rootfs", "size": size}
        await self.site.api.run("PUT", path, what=f"grow {node}", timeout=POWER_TIMEOUT, options=options)

    async def start(self, host: str, vmid: int, node: str) -> None:
        """Start a container, and wait until programs can run in it."""
        try:
            path = f"/nodes/{host}/lxc/{vmid}/status/start"
            warnings = await self.site.api.run("POST", path, what=f"start {node}", timeout=POWER_TIMEOUT)
            await self._warn(warnings, node)
        except ApiError as error:
            if "already running" not in error.reason:
                raise
        await self.ready(host, vmid, node)

    async def restart(self, host: str, vmid: int, node: str) -> None:
        """Shut a container down and start it again."""
        path = f"/nodes/{host}/lxc/{vmid}/status/reboot"
        options = {"timeout": SHUTDOWN_AFTER}
        await self.site.api.run("POST", path, what=f"restart {node}", timeout=POWER_TIMEOUT, options=options)
        await self.ready(host, vmid, node)

    async def ready(self, host: str, vmid: int, node: str) -> None:
        """Wait until programs can run in the container."""
        server = await self.site.ssh(host)
        try:
            argv = in_container(vmid, limited(READY, READY_TIMEOUT))
            done = await server.run(server.command(argv), timeout=READY_TIMEOUT)
        except Unreachable as error:
            raise TercetError(
                f"expected systemd in {node} (container {vmid} on {host}) to answer within {READY_TIMEOUT:g} s of its "
                f"start, found: {error}. Look at it with `pct enter {vmid}` on the server"
            ) from error
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip() or f"status {done.status}"
            raise TercetError(f"expected to run programs in {node} (container {vmid} on {host}), found: {said}")

    async def destroy(self, item: Listed) -> None:
        """Destroy a container with its disks, after checking its tags again."""
        api, name = self.site.api, item.name or str(item.vmid)
        path = f"/nodes/{item.host}/lxc/{item.vmid}"
        config = await api.get(f"{path}/config")
        if platform_tag(self.site.platform) not in split_tags(str(config.get("tags", ""))):
            raise TercetError(
                f"expected the container {item.vmid} on {item.host} to have the tag "
                f"{platform_tag(self.site.platform)}, found it without: it stays"
            )
        if str(config.get("protection", 0)) == "1":
            raise TercetError(
                f"expected to destroy {name}, found it protected: it stays as it is. Take the protection off with "
                f"`pct set {item.vmid} -protection 0` on {item.host} and run `tercet down` again"
            )
        self.say("progress", f"destroy container {name} ({item.vmid} on {item.host})", name)
        if item.running:
            try:
                await api.run("POST", f"{path}/status/stop", what=f"stop {name}", timeout=POWER_TIMEOUT)
            except ApiError as error:
                if "not running" not in error.reason:
                    raise
        await api.run("DELETE", path, what=f"destroy {name}", timeout=DESTROY_TIMEOUT, options={"purge": True})
        self.say("done", f"destroyed container {name} ({item.vmid} on {item.host})", name)

    async def _warn(self, warnings: Sequence[str], node: str) -> None:
        for line in warnings:
            self.say("progress", f"warning of Proxmox: {line}", node)


@dataclass
class Made:
    """The outcome of a plan's changes."""

    todo: Sequence[GuestChange]
    done: list[GuestChange] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """If there was a failure, raise a TercetError with all failures and with the present state."""
        if not self.failures:
            return
        left = ", ".join(str(change) for change in self.todo if change not in self.done)
        stand = (
            f"Done: {len(self.done)} of {len(self.todo)} changes of containers. Not done, or not known to be: {left}. "
            "Run `tercet up` again: it looks at what exists and does the rest"
        )
        raise TercetError("\n".join([*self.failures, stand]))


def destruction(item: Listed, guest: Guest) -> Change:
    """The change that destroys a container. It lists every volume that is destroyed with it."""
    volumes = ", ".join(guest.volumes()) or "no volume"
    database = "DATABASE, " if f"role.{Role.DB.value}" in item.tags else ""
    return Change(Verb.DESTROY, _container(item), f"{database}with {volumes}")


def keeping(item: Listed) -> Change:
    """The plan's line for a container of the platform that is kept, because it is unknown which node it is."""
    reason = "it has the platform's tag, but not a site's and a role's: destroy it yourself, or take the tag off"
    return Change(Verb.KEEP, _container(item), reason)


def _container(item: Listed) -> Target:
    """A container, shown with its VMID, because it may belong to no node, or two may have the same tags."""
    return Target(Kind.CONTAINER, item.name, text=f"container {item.name} ({item.vmid} on {item.host})")


def where(guests: dict[str, Guest], change: GuestChange) -> tuple[str, int]:
    """The Proxmox node and VMID of a change's container. Raises TercetError if the node has another one or none now."""
    found = guests.get(change.node)
    if found is None or found.vmid != change.vmid:
        raise TercetError(
            f"expected container {change.vmid} to be {change.node} as when the plan was made, found "
            f"{'none' if found is None else found.vmid}: nothing was done to it; run the command again"
        )
    return found.host, found.vmid
