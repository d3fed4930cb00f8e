"""Mounts the root of one container, in which root is nobody on this machine. A separate program.

    python3 -I -S rootfs.py FOLDER

FOLDER is the container's folder; its `config` names the image and the disk. The machine's root runs this in the mount
namespace of LXC's process, so the mounts disappear with the container.

    FOLDER/rootfs     an overlay: the image below, the node's own files (FOLDER/upper) above
    FOLDER/devices    the container's own /dev/net/tun: the machine's belongs to a user that the container does not have

Root's files in the image and on the disk belong to the machine's root. They are mounted through an ID-mapped mount (see
mount_setattr(2)), which shows the user N as FIRST_ID + N, so all containers share one image, and none of its files are
copied or changed. What the node writes above the image belongs to FIRST_ID + N on the machine, too.

FIRST_ID is the first ID after those that systemd sets aside for containers, 524288 to 1879048191
(systemd.io/UIDS-GIDS). useradd(8) gives /etc/subuid IDs from 100000 to 600100000, and nothing else is known to use the
range. All nodes of all labs share it, as the containers of a Proxmox server share one. Its 65536 IDs are as many as a
system needs: the highest is that of `nobody`, 65534.
"""

# It starts with each container, so it imports little.
# ruff: noqa: PTH103, PTH123

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

FIRST_ID, IDS = 1879048192, 65536
IMAGE, DISK = "# image", "# disk"  # the lines of `config` that are for this program; to LXC, they are comments
PLACE = "var/lib/postgresql"  # of the disk: the home of Debian's PostgreSQL, with all clusters below it
ROOTFS, DEVICES = "rootfs", "devices"
TUN = os.makedev(10, 200)
# Without `noinit_itable`, the kernel would write zeros that a sparse file has already. `resuid`: the space that is
# reserved for root is for root of the node.
DISK_OPTIONS = f"loop,noinit_itable,resuid={FIRST_ID}"

# System calls that libc has no function for. Their numbers are the same on all architectures.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_IDMAP = 0x00100000
CLONE_NEWUSER = 0x10000000

libc = ctypes.CDLL(None, use_errno=True)


class MountAttributes(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


class MountError(Exception):
    """The message says what was expected, what was found, and what to do."""


def check(result: int, expected: str, remedy: str) -> None:
    if result == -1:
        raise MountError(f"expected {expected}, found: {os.strerror(ctypes.get_errno())}; {remedy}")


def mount_root(folder: str) -> None:
    """Mount everything for the container of this folder."""
    with open(f"{folder}/config", encoding="utf-8") as config:
        named = dict(line.rstrip("\n").split(" = ", 1) for line in config if line.startswith("# "))
    for name in (ROOTFS, DEVICES, "work"):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
    root = f"{folder}/{ROOTFS}"
    with shifting_ids() as namespace:
        attach(shifted(named[IMAGE], namespace), root)
        # The overlay covers its own lower layer.
        mount("overlay", root, "overlay", f"lowerdir={root},upperdir={folder}/upper,workdir={folder}/work")
        if DISK in named:
            mount_disk(named[DISK], f"{root}/{PLACE}", namespace)
    mount("tmpfs", f"{folder}/{DEVICES}", "tmpfs", "mode=755,size=4k")
    tun = f"{folder}/{DEVICES}/tun"
    os.mknod(tun, stat.S_IFCHR | 0o600, TUN)
    os.chown(tun, FIRST_ID, FIRST_ID)


def mount_disk(disk: str, place: str, namespace: int) -> None:
    """Mount the disk on a loop device that detaches itself with the last mount."""
    subprocess.run(["mount", "-n", "-t", "ext4", "-o", DISK_OPTIONS, disk, place], check=True)
    tree = shifted(place, namespace)
    check(libc.umount2(place.encode(), 0), f"{place} to be unmounted again", "see `dmesg`")
    attach(tree, place)


def mount(source: str, target: str, kind: str, options: str) -> None:
    check(
        libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()),
        f"a file system {kind} at {target} ({options})",
        "see `dmesg`; the lab needs Linux 5.19 or newer",
    )


def shifted(source: str, namespace: int) -> int:
    """A mount of the directory `source` with the IDs of the user namespace. It is attached nowhere yet."""
    tree = libc.syscall(OPEN_TREE, AT_FDCWD, source.encode(), OPEN_TREE_CLONE)
    check(tree, f"a directory {source}", "see `tercet plan`")
    attributes = MountAttributes(set=MOUNT_ATTR_IDMAP, user_namespace=namespace)
    check(
        libc.syscall(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes)),
        f"an ID-mapped mount of {source}",
        "it needs Linux 5.19 or newer, and a file system that can do this, such as ext4, XFS or Btrfs",
    )
    return int(tree)


def attach(tree: int, target: str) -> None:
    moved = libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH)
    check(moved, f"a mount at {target}", "see `dmesg`")
    os.close(tree)


@contextlib.contextmanager
def shifting_ids() -> Iterator[int]:
    """An open user namespace in which the user N is FIRST_ID + N outside. A process must have been in it to make it."""
    pid = os.fork()
    if pid == 0:
        if libc.unshare(CLONE_NEWUSER) == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(ctypes.get_errno())
    status = os.waitpid(pid, os.WUNTRACED)[1]
    if not os.WIFSTOPPED(status):
        reason = os.strerror(os.waitstatus_to_exitcode(status))
        raise MountError(f"expected a user namespace, found: {reason}; see `sysctl user.max_user_namespaces`")
    try:
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{kind}", "w", encoding="ascii") as ids:
                ids.write(f"0 {FIRST_ID} {IDS}")
        namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    try:
        yield namespace
    finally:
        os.close(namespace)


def main() -> None:
    try:
        mount_root(sys.argv[1])
    except (MountError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
