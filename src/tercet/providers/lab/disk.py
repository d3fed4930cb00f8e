"""A file system of its own for a database node's data: a sparse file in the node's folder, mounted as a loop.

Invariant: it is mounted in the container's own mount namespace alone, on a loop device that detaches itself.
So nothing of it is left on the machine however the container ends, and every start mounts it again.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tercet.errors import TercetError
from tercet.host.command import HostCommandError, command

SIZE = "8G"
PLACE = "var/lib/postgresql"  # in the container: the home of Debian's PostgreSQL, with all clusters below it
MAKE_LIMIT = 30.0  # seconds to make the file system; it takes 0.02

# Neither writes what the sparse file already reads as: zeros.
FORMAT = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
MOUNT = "loop,noinit_itable"


def mount_command(disk: Path) -> str:
    """What LXC runs in the container's mount namespace when its root is in place but not yet entered."""
    return f'mount -n -t ext4 -o {MOUNT} {disk} "$LXC_ROOTFS_MOUNT/{PLACE}"'


async def make_disk(disk: Path, rootfs: Path) -> bool:
    """Make the file with an empty file system, owned as its place in the image is.

    False, and nothing made, where the machine lacks mkfs.ext4 or loop devices, or the image the place. The file
    gets its name when it is whole.
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
    """The machine has a loop device to give. The kernel makes one more on being asked, where it can."""
    try:
        await command(["sh", "-c", 'test -b "$(losetup --find)"'], doing="find a loop device")
    except HostCommandError:
        return False
    return True
