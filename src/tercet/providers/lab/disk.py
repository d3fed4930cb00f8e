"""A separate file system for a database node's data: a sparse file in the node's folder, on a loop device.

Invariant: it is mounted only in the mount namespaces of LXC and the container (rootfs.py), on a loop device that
detaches itself. So no mount is left on the machine however the container ends, and every start mounts it again.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tercet.errors import TercetError
from tercet.host.command import HostCommandError, command
from tercet.providers.lab.rootfs import PLACE

SIZE = "8G"
MAKE_LIMIT = 30.0  # seconds to make the file system; it takes 0.02

# No zeros are written, because the sparse file already reads as zeros.
FORMAT = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"


async def make_disk(disk: Path, rootfs: Path) -> bool:
    """Make the file with an empty file system, whose root has the owner of the mount point in the image. Returns False
    without making the file if the machine lacks mkfs.ext4 or loop devices, or the image lacks the mount point. The file
    gets its final name only when it is complete.
    """
    place = rootfs / PLACE
    if not place.is_dir() or not shutil.which("mkfs.ext4") or not await loops():
        return False
    owner = place.stat()
    fresh = disk.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    doing = f"make the disk {disk}"
    options = f"{FORMAT},root_owner={owner.st_uid}:{owner.st_gid}"
    try:
        await command(["truncate", "-s", SIZE, str(fresh)], doing=doing)
        await command(["mkfs.ext4", "-q", "-E", options, str(fresh)], doing=doing, timeout=MAKE_LIMIT)
    except TercetError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    fresh.replace(disk)
    return True


async def loops() -> bool:
    """Whether a loop device is free. The kernel makes another one on request, if it can."""
    try:
        await command(["sh", "-c", 'test -b "$(losetup --find)"'], doing="find a loop device")
    except HostCommandError:
        return False
    return True
