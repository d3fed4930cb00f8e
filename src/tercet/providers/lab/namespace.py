"""Command lines that run in the lab's network namespace, with the host's file system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def is_namespace(name: str) -> bool:
    """Whether a network namespace has this name. After a reboot, the name may be left as an empty file."""
    try:
        return Path("/run/netns", name).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the lab's network namespace and sees the host's file system."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]


def inside_with_sysfs(namespace: str, script: str, *arguments: str) -> list[str]:
    """The command line that runs a shell script in the lab's network namespace, with a matching /sys.

    LXC looks up its bridge in /sys, and it needs the control groups, which `ip netns exec` hides. They are mounted
    again as version 2 only, so that unified and hybrid hosts look the same to LXC.
    """
    mount = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
    return ["ip", "netns", "exec", namespace, "sh", "-c", mount + script, "sh", *arguments]
