"""`doctor`: everything that would make `up` fail later, in one list, with the remedies. Changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tercet.providers.preflight import Check, failed, ok, warning
from tercet.session.session import Session

HERE = "this machine"
PROGRAMS = {
    "lxc-start": "lxc",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "zstd": "zstd",
}
IMAGE_PROGRAMS = ("mmdebstrap", "zstd")
LAB_MEMORY_GIB = 3  # nine nodes use 1.5 to 2
LAB_DISK_GIB = 10  # image, components and the nodes' own files; 4 GiB are used
GIB = 1 << 30


async def examine(session: Session) -> tuple[Check, ...]:
    """All checks of the inventory's provider."""
    from tercet.providers.proxmox.provider import ProxmoxProvider  # noqa: PLC0415 - only the one that is used
    from tercet.providers.proxmox.template import template_name  # noqa: PLC0415

    if isinstance(session.provider, ProxmoxProvider):
        image = session.image
        made = image is not None and (image.rootfs.parent / template_name(image.key)).exists()
        return (*(() if made else _image()), *await session.provider.preflight())
    return tuple(_machine(session.platform.settings.cache))


def _machine(cache: Path) -> Iterator[Check]:
    """What the lab needs of the machine it runs on."""
    yield _root("run it with sudo: the lab makes containers and networks")
    for program in PROGRAMS:
        yield _program(program)
    if Path("/dev/net/tun").is_char_device():
        yield ok(HERE, "/dev/net/tun")
    else:
        yield failed(HERE, "/dev/net/tun", "absent: Tailscale needs it", "modprobe tun")
    filesystems = Path("/proc/filesystems").read_text(encoding="ascii")
    if "overlay" in filesystems:
        yield ok(HERE, "overlay file system")
    else:
        yield failed(HERE, "overlay file system", "the kernel does not know it (yet)", "modprobe overlay")
    if "cgroup2" in Path("/proc/mounts").read_text(encoding="utf-8"):
        yield ok(HERE, "control groups version 2")
    else:
        remedy = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
        yield failed(HERE, "control groups version 2", "not mounted", remedy)
    yield _room("memory", _available_memory(), LAB_MEMORY_GIB, "end something, or use a larger machine")
    place = next(path for path in (cache, *cache.parents) if path.exists())
    yield _room(f"disk of {place}", shutil.disk_usage(place).free, LAB_DISK_GIB, "make room, or set `cache`")


def _image() -> Iterator[Check]:
    """What making the image needs of the machine it is made on."""
    yield _root("run it as root: the image is made here, with the owners that its files have")
    for program in IMAGE_PROGRAMS:
        yield _program(program)


def _root(remedy: str) -> Check:
    return ok(HERE, "root") if os.geteuid() == 0 else failed(HERE, "root", "this is an ordinary user", remedy)


def _program(name: str) -> Check:
    if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return ok(HERE, name)
    return failed(HERE, name, "not installed", f"apt install {PROGRAMS[name]}, or run scripts/host-packages lab")


def _room(title: str, has: int, needed: int, remedy: str) -> Check:
    found = f"{has / GIB:.1f} GiB free"
    return ok(HERE, title, found) if has >= needed * GIB else warning(HERE, title, f"{found}, {needed} wanted", remedy)


def _available_memory() -> int:
    """Bytes that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
