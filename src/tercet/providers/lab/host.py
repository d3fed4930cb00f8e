"""Programs that the lab runs on the machine itself: ip, nft, tc, lxc-start. Each has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tercet.errors import TercetError
from tercet.image.process import start


class HostCommandError(TercetError):
    """A program on the machine failed; the message names it and holds its last words."""


async def command(argv: Sequence[str], *, doing: str, stdin: str = "", timeout: float = 10.0) -> str:
    """Run a program to its end and return its standard output.

    HostCommandError if it is missing, exits non-zero, or does not end in `timeout` seconds (it is then
    killed with its children). `doing` opens the message: "start db-sib-01".
    """
    try:
        process = await start(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise HostCommandError(
            f"{doing}: the program {argv[0]} is not installed; install lxc, iproute2 and nftables"
        ) from None
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate(stdin.encode())
    except TimeoutError:
        raise HostCommandError(f"{doing}: {argv[0]} did not end within {timeout:g} s and was killed") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        words = stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise HostCommandError(f"{doing}: {argv[0]} failed with status {process.returncode}: {' / '.join(words[-3:])}")
    return stdout.decode(errors="replace")


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
