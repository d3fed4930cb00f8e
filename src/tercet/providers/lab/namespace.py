"""Command lines that run in the lab's network namespace, with the host's file system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def is_namespace(name: str) -> bool:
    """A network namespace has this name. After a reboot a name may be left that is a mere empty file."""
    try:
        return Path("/run/netns", name).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the lab's network namespace and sees the host's file system."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]


def inside_with_sysfs(namespace: str, script: str, *arguments: str) -> list[str]:
    """The command line that runs a shell script in the lab's network namespace with a view of /sys to match.

    LXC needs both: it looks its bridge up in /sys, and `ip netns exec` hides the control groups that are
    mounted below it. Mounted again as version 2 alone, every host looks the same to LXC, hybrid or not.
    """
    mount = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
    return ["ip", "netns", "exec", namespace, "sh", "-c", mount + script, "sh", *arguments]
