"""The checks of `tercet doctor` for the lab's machine. Root privileges are checked earlier."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tercet.providers.preflight import HERE, Check, failed, ok, program, warning

PROGRAMS = {"lxc-start": "lxc", "ip": "iproute2", "nft": "nftables"}
KERNEL = (5, 19)  # the first that puts ID-mapped mounts below an overlay (rootfs.py)
MEMORY_GIB = 3  # nine nodes use 1.5 to 2
DISK_GIB = 10  # image, components and the nodes' own files; 4 GiB are used
GIB = 1 << 30


def preflight(cache: Path) -> Iterator[Check]:
    """All checks. `cache` is the folder of the images."""
    for name, package in PROGRAMS.items():
        yield program(name, package)
    yield _kernel(os.uname().release)
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
    yield _room("memory", _available_memory(), MEMORY_GIB, "end something, or use a larger machine")
    place = next(path for path in (cache, *cache.parents) if path.exists())
    yield _room(f"disk of {place}", shutil.disk_usage(place).free, DISK_GIB, "make room, or set `cache`")


def _kernel(release: str) -> Check:
    """Whether root in the containers can be nobody on this machine. `release` is as uname(1) prints it."""
    found = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if found >= KERNEL:
        return ok(HERE, "kernel", release)
    reason = f"{release}: the lab's containers need Linux 5.19, the first with ID-mapped mounts below an overlay"
    return failed(HERE, "kernel", reason, "boot a newer kernel, such as Debian 12's")


def _room(title: str, has: int, needed: int, remedy: str) -> Check:
    found = f"{has / GIB:.1f} GiB free"
    return ok(HERE, title, found) if has >= needed * GIB else warning(HERE, title, f"{found}, {needed} wanted", remedy)


def _available_memory() -> int:
    """Bytes that are available without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
