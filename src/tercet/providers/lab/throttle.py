"""A slow disk: the kernel lets one node's processes do only a few reads and writes a second on the node's own disk.

By `blkio.throttle` of control groups version 1, in a group that is made for the fault and that the node's processes
are moved into; by `io.max` of version 2 where the node's own group has it (not tried, for want of such a host).

Invariant: what is slow is read from the groups alone, and a group of version 1 exists as long as its disk is slow.
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
from tercet.providers.lab.disk import PLACE

MOVES = 20  # times that new processes of the node are looked for; two are enough unless it forks without end
ENDING_S = 2.0  # how long a process may take to end; some milliseconds are usual
LIMITS = ("blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device")


@dataclass(frozen=True, slots=True)
class Throttle:
    """What can slow the disks of one lab's nodes on this host."""

    cgroups: Cgroups
    platform: str

    @property
    def possible(self) -> bool:
        """The host has one of the two ways."""
        root = _blkio()
        return (root is not None and (root / LIMITS[0]).exists()) or "io" in read(
            self.cgroups.lab / "nodes" / "cgroup.subtree_control"
        ).split()

    def slow(self, node: str, iops: int) -> None:
        """Slow the node's disk down. Raises TercetError where it has none of its own."""
        init = self.cgroups.init(node)
        if init is None:
            raise TercetError(f"slow the disk of {node}: it does not run; start it first")
        device = device_at(read(Path(f"/proc/{init}/mountinfo")), f"/{PLACE}")
        if not device:
            raise TercetError(
                f"slow the disk of {node}: its data lies on no disk of its own; make the lab again on a machine with "
                "loop devices"
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
        """End it; nothing happens where the node's disk is not slow."""
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
        """A command line that ends it without the tool. What it leaves of the group, `free` removes."""
        group = self._group(node)
        if group is None:
            files, none = [self._io_max(node)], "riops=max wiops=max"
        else:
            files, none = [group / limit for limit in LIMITS], "0"
        free = f'for file; do while read -r device limits; do echo "$device {none}" > "$file"; done < "$file"; done'
        return ["sh", "-c", free, "sh", *map(str, files)]

    def slowed(self, node: str) -> bool:
        """The node's disk is slow now."""
        group = self._group(node)
        files = [self._io_max(node)] if group is None else [group / limit for limit in LIMITS]
        return any(_limited(read(file)) for file in files)

    def forget(self) -> None:
        """Remove what is left of all groups of this lab, in which nothing lives any more."""
        root = _blkio()
        if root is not None:
            remove(root / BASE / self.platform)
            with contextlib.suppress(OSError):  # another lab's are there, or there never was one
                (root / BASE).rmdir()

    def _group(self, node: str) -> Path | None:
        """The group of version 1; None on a host that has only version 2."""
        root = _blkio()
        return root / BASE / self.platform / node if root is not None else None

    def _io_max(self, node: str) -> Path:
        return self.cgroups.node(node) / "io.max"


def _move_all(strays: Callable[[], set[int]], group: Path) -> None:
    """Move processes into the group until there are no more strays: one that was just born is where its parent was."""
    for _ in range(MOVES):
        found = strays()
        if not found:
            return
        for pid in found:
            try:
                (group / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                continue  # it ended meanwhile
            except OSError as error:
                raise TercetError(
                    f"expected the kernel to move process {pid} into {group}, found: {error.strerror}"
                ) from None


def _empty_and_remove(group: Path, above: Path) -> None:
    """Move everything out and remove the group. One that ends just then is no longer listed and still holds it."""
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
    """The devices that have a limit, by the lines of a group's file."""
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _blkio() -> Path | None:
    """Where version 1's hierarchy `blkio` is mounted."""
    for line in read(Path("/proc/self/mounts")).splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "blkio" in options.split(","):
            return Path(where)
    return None


def device_at(mountinfo: str, place: str) -> str:
    """MAJOR:MINOR of the file system mounted at that place, from /proc/PID/mountinfo; empty if none is."""
    for line in mountinfo.splitlines():
        fields = line.split()
        if fields[4] == place:
            return fields[2]
    return ""
