"""A slow disk: the kernel limits the reads and writes per second of a node's processes on the node's own disk.

With control groups version 1, the limit is `blkio.throttle` of a group that is made for the fault, and the node's
processes are moved into it. With version 2, it is `io.max` of the node's own group (untested, because no such host
was available).

Invariant: only the groups record which disks are slow. A version 1 group exists as long as its disk is slow.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.providers.lab.cgroup import BASE, Cgroups, pids, read, remove, write
from tercet.providers.lab.rootfs import PLACE

MOVES = 20  # how many times to search for new processes; twice is enough unless the node forks all the time
ENDING_S = 2.0  # seconds to wait until exiting processes are gone; it usually takes milliseconds
LIMITS = ("blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device")


@dataclass(frozen=True, slots=True)
class Throttle:
    """Slows the disks of one lab's nodes."""

    cgroups: Cgroups
    platform: str

    @property
    def possible(self) -> bool:
        """Whether the host has one of the two mechanisms."""
        root = _blkio()
        return (root is not None and (root / LIMITS[0]).exists()) or "io" in read(
            self.cgroups.lab / "nodes" / "cgroup.subtree_control"
        ).split()

    def slow(self, node: str, iops: int) -> None:
        """Slow the node's disk. Raises TercetError if the node does not have its own disk."""
        init = self.cgroups.init(node)
        if init is None:
            raise TercetError(f"slow the disk of {node}: it does not run; start it first")
        device = device_at(read(Path(f"/proc/{init}/mountinfo")), f"/{PLACE}")
        if not device:
            raise TercetError(
                f"slow the disk of {node}: its data is not on a disk of its own; recreate the lab on a machine "
                "with loop devices"
            )
        group = self._group(node)
        if group is None:
            write(self._io_max(node), f"{device} riops={iops} wiops={iops}")
            return
        group.mkdir(parents=True, exist_ok=True)
        for limit in LIMITS:
            write(group / limit, f"{device} {iops}")
        _move_all(lambda: set(_processes(self.cgroups.node(node))) - set(pids(group)), group)

    def free(self, node: str) -> None:
        """End the fault. Does nothing if the node's disk is not slow."""
        group = self._group(node)
        if group is None:
            for device in _limited(read(self._io_max(node))):
                write(self._io_max(node), f"{device} riops=max wiops=max")
        elif group.exists():
            for limit in LIMITS:
                for device in _limited(read(group / limit)):
                    write(group / limit, f"{device} 0")
            _empty_and_remove(group, group.parents[2])

    def free_command(self, node: str) -> list[str]:
        """A command line that ends the fault without the tool. It leaves the group, if any, for `free` to remove."""
        group = self._group(node)
        if group is None:
            files, none = [self._io_max(node)], "riops=max wiops=max"
        else:
            files, none = [group / limit for limit in LIMITS], "0"
        free = f'for file; do while read -r device limits; do echo "$device {none}" > "$file"; done < "$file"; done'
        return ["sh", "-c", free, "sh", *map(str, files)]

    def slowed(self, node: str) -> bool:
        """Whether the node's disk is slow now."""
        group = self._group(node)
        files = [self._io_max(node)] if group is None else [group / limit for limit in LIMITS]
        return any(_limited(read(file)) for file in files)

    def forget(self) -> None:
        """Remove all version 1 groups of this lab, which have no processes any more."""
        root = _blkio()
        if root is not None:
            remove(root / BASE / self.platform)
            with contextlib.suppress(OSError):  # another lab has groups there, or the folder never existed
                (root / BASE).rmdir()

    def _group(self, node: str) -> Path | None:
        """The group of version 1; None if the host has only version 2."""
        root = _blkio()
        return root / BASE / self.platform / node if root is not None else None

    def _io_max(self, node: str) -> Path:
        return self.cgroups.node(node) / "io.max"


def _move_all(strays: Callable[[], set[int]], group: Path) -> None:
    """Move processes into the group until no new ones are found. A new process starts in its parent's group."""
    for _ in range(MOVES):
        found = strays()
        if not found:
            return
        for pid in found:
            try:
                (group / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                continue  # it has ended
            except OSError as error:
                raise TercetError(
                    f"expected the kernel to move process {pid} into {group}, found: {error.strerror}"
                ) from None


def _empty_and_remove(group: Path, above: Path) -> None:
    """Move all processes out and remove the group. An exiting process is no longer listed, but still keeps the
    group busy.
    """
    until = time.monotonic() + ENDING_S
    while True:
        _move_all(lambda: set(pids(group)), above)
        try:
            return remove(group)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _processes(group: Path) -> Iterator[int]:
    """All processes in this group and below."""
    yield from pids(group)
    for below in group.glob("*/"):
        yield from _processes(below)


def _limited(text: str) -> list[str]:
    """The devices that have a limit, from the lines of a group's file."""
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _blkio() -> Path | None:
    """The mount point of version 1's hierarchy `blkio`; None if it is not mounted."""
    for line in read(Path("/proc/self/mounts")).splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "blkio" in options.split(","):
            return Path(where)
    return None


def device_at(mountinfo: str, place: str) -> str:
    """MAJOR:MINOR of the file system mounted at that path, from /proc/PID/mountinfo; empty if none is."""
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[4] == place:
            return fields[2]
    return ""
