"""The lab's control groups. Every process of a lab is in one of them, and is found, frozen and killed through it.

Invariant: the kernel maintains the groups, so they contain exactly the lab's processes.

    tercet/PLATFORM/nodes/NODE       the container; its systemd makes its own groups below
    tercet/PLATFORM/nodes/NODE/.run  programs that tercet runs there
    tercet/PLATFORM/monitors/NODE    LXC's own process for the container
    tercet/PLATFORM/wan              the WAN emulator
    tercet/PLATFORM/healers/NODE     the process that ends a fault when its time is up
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from time import monotonic

from tercet.errors import TercetError

BASE = "tercet"
RUN = ".run"
POLL = 0.01  # seconds between two polls of something that ends within milliseconds


def hierarchy() -> Path:
    """The mount point of the unified hierarchy, on a unified or hybrid host. Raises TercetError if it has none."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise TercetError(
        "the lab needs control groups version 2 and /proc/self/mounts shows none; mount them with "
        "`mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`"
    )


class Cgroups:
    """The control groups of one lab."""

    def __init__(self, platform: str) -> None:
        self.base = hierarchy() / BASE
        self.lab = self.base / platform

    def node(self, name: str) -> Path:
        return self.lab / "nodes" / name

    def monitor(self, name: str) -> Path:
        return self.lab / "monitors" / name

    def healer(self, name: str) -> Path:
        return self.lab / "healers" / name

    @property
    def wan(self) -> Path:
        return self.lab / "wan"

    def names(self, kind: str) -> tuple[str, ...]:
        """The members of `nodes`, `monitors` or `healers` whose groups exist."""
        try:
            return tuple(entry.name for entry in os.scandir(self.lab / kind) if entry.is_dir())
        except FileNotFoundError:
            return ()

    def init(self, name: str) -> int | None:
        """The host's process ID of the container's PID 1; None if the container is not running."""
        node, scope = self.node(name), self.node(name) / "init.scope"
        for group in (scope, node, scope):  # systemd starts in `node` and moves to `scope`, perhaps between two reads
            for pid in pids(group):
                if is_init(pid):
                    return pid
        return None

    def frozen(self, name: str) -> bool:
        return read(self.node(name) / "cgroup.freeze").strip() == "1"

    def freeze(self, name: str, on: bool) -> None:
        """Freeze or thaw all processes of the container. Does nothing if the container is not running."""
        write(self.node(name) / "cgroup.freeze", "1" if on else "0")


def pids(group: Path) -> tuple[int, ...]:
    """The processes of this group, without its subgroups; empty if the group does not exist."""
    return tuple(int(pid) for pid in read(group / "cgroup.procs").split())


def is_init(pid: int) -> bool:
    """Whether the process is PID 1 of a container, which is exactly one PID namespace below this program's."""
    for line in read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) == 2 and numbers[1] == "1"
    return False


def populated(group: Path) -> bool:
    """Whether this group or one below it has a process."""
    return "populated 1" in read(group / "cgroup.events")


def kill(group: Path) -> None:
    """Send SIGKILL to all processes in the group and below in one step, so that no process can escape by forking."""
    write(group / "cgroup.kill", "1")


async def emptied(group: Path, timeout: float) -> bool:
    """Wait until the group has no processes. False if it still has some after `timeout` seconds."""
    deadline = monotonic() + timeout
    while populated(group):
        if monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True


def remove(group: Path) -> None:
    """Remove the group and those below it. Raises OSError (busy) if one of them has processes."""
    try:
        children = [entry.path for entry in os.scandir(group) if entry.is_dir(follow_symlinks=False)]
        for child in children:
            remove(Path(child))
        group.rmdir()
    except FileNotFoundError:
        return  # LXC's monitor removes groups, too


def read(path: Path) -> str:
    """The text of a kernel file; empty if the object that it describes is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def write(path: Path, text: str) -> None:
    """Write to a control group's file. Does nothing if the group is gone or being removed."""
    try:
        path.write_text(text)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV}:
            raise
