"""Makes, starts, stops and removes containers. A start returns when the container's systemd answers over D-Bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from time import monotonic

from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.host.command import HostCommandError, command
from tercet.providers.lab import rootfs
from tercet.providers.lab.cgroup import POLL, Cgroups, emptied, kill, remove
from tercet.providers.lab.config import config_text, has_disk, image_of
from tercet.providers.lab.disk import make_disk
from tercet.providers.lab.layout import LABS, Container, Layout
from tercet.providers.lab.namespace import inside_with_sysfs

START_LIMIT = 20.0  # seconds for lxc-start; it takes 0.03 on an idle machine
BOOT_LIMIT = 60.0  # seconds until systemd has opened D-Bus; it takes 0.5 alone and 3 with nine at once
STOP_LIMIT = 15.0  # seconds that systemd may take to stop its units in order
DEATH_LIMIT = 10.0  # seconds until killed processes have ended
HALT = signal.SIGRTMIN + 3  # systemd: halt.target
LOCKS = Path("/run/lxc/lock")

HIGHEST = -10  # the niceness of the control plane (components/systemd.py)
START = text_of(__package__, "containers-start.sh", NICE=HIGHEST)


class Containers:
    """The containers of one lab."""

    def __init__(self, layout: Layout, cgroups: Cgroups, image: Path | None) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._image_tree = image

    async def define(self, container: Container) -> None:
        """Write the container's configuration. The container keeps its image as long as that image exists."""
        folder = self._layout.folder(container.name)
        file = folder / "config"
        before = file.read_text() if file.exists() else None
        image = image_of(before) if before else None
        if image is None or not image.is_dir():
            image = self._image(container)
        make_folder(folder)
        disk = container.disk and await self._disk(container.name, before, image)
        fresh = folder / "config.new"
        fresh.write_text(config_text(self._layout, container, image, disk=disk))
        fresh.replace(file)

    async def _disk(self, name: str, before: str | None, image: Path) -> bool:
        """Whether the container has its own disk. A new container's disk is made now. An existing container without a
        disk does not get one, because its data is elsewhere.
        """
        disk = self._layout.disk(name)
        if disk.exists():
            return True
        return (before is None or has_disk(before)) and await make_disk(disk, image)

    def _image(self, container: Container) -> Path:
        image = self._image_tree
        if image is None:
            raise TercetError(f"create {container.name}: no image is built yet; `tercet up` builds it first")
        if not (image / "sbin").exists():
            raise TercetError(f"create {container.name}: {image} holds no root file system; build the image again")
        return image

    def start_command(self, container: Container) -> list[str]:
        """The command line that starts the container. The process that ends a fault also runs it."""
        folder = self._layout.folder(container.name)
        return inside_with_sysfs(
            self._layout.namespace,
            START,
            container.port,
            str(self._layout.directory),
            container.name,
            str(folder / "lxc.log"),
            str(self._cgroups.node(container.name).relative_to(self._cgroups.base.parent)),
            *(sys.executable, "-I", "-S", rootfs.__file__, str(folder)),
        )

    async def start(self, container: Container) -> None:
        """Start the container unless it runs, and wait until its systemd answers over D-Bus."""
        name = container.name
        if self._cgroups.init(name) is None:
            await self._clean_up(name)
            log = self._layout.folder(name) / "lxc.log"
            log.unlink(missing_ok=True)
            try:
                await command(self.start_command(container), doing=f"start {name}", timeout=START_LIMIT)
            except asyncio.CancelledError:
                # LXC ends a container whose start was interrupted, but only later. Until then it counts as running.
                kill(self._cgroups.monitor(name))
                await self.kill(name)
                raise
            except HostCommandError as failure:
                if self._cgroups.init(name) is None:  # otherwise a healer has started it
                    raise HostCommandError(f"{failure}{last_words(log)}") from None
        await self.booted(name)

    async def booted(self, name: str) -> None:
        """Wait until systemd has opened D-Bus, so that `systemctl` works."""
        deadline = monotonic() + BOOT_LIMIT
        while monotonic() < deadline:
            init = self._cgroups.init(name)
            if init is None:
                raise TercetError(
                    f"start {name}: its PID 1 ended while it started; see `journalctl -D "
                    f"{self._layout.folder(name)}/upper/var/log/journal`"
                )
            if has_dbus(init):
                return
            await asyncio.sleep(POLL)
        frozen = "; it is frozen" if self._cgroups.frozen(name) else ""
        raise TercetError(f"start {name}: its systemd opened no D-Bus socket within {BOOT_LIMIT:g} s{frozen}")

    async def readdress(self, container: Container) -> None:
        """Restore eth0's address and the default route from the container's configuration."""
        init = self._cgroups.init(container.name)
        if init is None:
            raise TercetError(f"address {container.name}: it does not run any more; plan again")
        network = container.network
        batch = (
            "link set eth0 up\n"
            f"address replace {container.address}/{network.subnet.prefixlen} dev eth0\n"
            f"route replace default via {network.gateway} dev eth0\n"
        )
        doing = f"address {container.name}"
        await command(["nsenter", "-t", str(init), "-n", "ip", "-batch", "-"], stdin=batch, doing=doing)

    async def stop(self, name: str) -> None:
        """Shut the container down; kill it if that takes longer than STOP_LIMIT."""
        init = self._cgroups.init(name)
        if init is not None:
            self._cgroups.freeze(name, False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, HALT)
            await emptied(self._cgroups.node(name), STOP_LIMIT)
        await self.kill(name)

    async def kill(self, name: str) -> None:
        """Kill the container. Returns when all its processes have ended."""
        kill(self._cgroups.node(name))
        if not await emptied(self._cgroups.node(name), DEATH_LIMIT):
            raise TercetError(f"stop {name}: processes are still alive {DEATH_LIMIT:g} s after SIGKILL; see `dmesg`")
        await self._clean_up(name)

    async def _clean_up(self, name: str) -> None:
        """Wait until the LXC process of a dead container has ended. That process removes the container's network
        device. Then remove the control groups that are left.
        """
        monitor = self._cgroups.monitor(name)
        if not await emptied(monitor, DEATH_LIMIT):
            kill(monitor)
            await emptied(monitor, DEATH_LIMIT)
        for group in (self._cgroups.node(name), monitor):
            with contextlib.suppress(OSError):  # removed because LXC fails if the group still exists
                remove(group)

    async def remove(self, name: str) -> None:
        """Remove the container with all its data."""
        await self.kill(name)
        await asyncio.to_thread(shutil.rmtree, self._layout.folder(name), ignore_errors=False)
        LOCKS.joinpath(*self._layout.directory.parts[1:], f".{name}").unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make the container's folder and its upper layer, which belongs to root of the container. That root can pass
    through the folders above, whatever this process's umask is; other users of this machine cannot enter its own.
    """
    upper = folder / "upper"
    upper.mkdir(parents=True, exist_ok=True)
    os.chown(upper, rootfs.FIRST_ID, rootfs.FIRST_ID)
    upper.chmod(0o755)
    os.chown(folder, 0, rootfs.FIRST_ID)
    folder.chmod(0o710)
    for above in (folder.parent, LABS, LABS.parent):
        above.chmod(0o711)


def has_dbus(init: int) -> bool:
    """Whether the container's systemd has opened D-Bus."""
    return Path(f"/proc/{init}/root/run/dbus/system_bus_socket").exists()


def last_words(log: Path) -> str:
    """The end of LXC's log, for an error message."""
    try:
        errors = [line.split(" - ", 2)[-1] for line in log.read_text().splitlines() if " ERROR " in line]
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in errors[:4])
