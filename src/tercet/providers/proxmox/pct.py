"""`pct exec`: how Proxmox runs a program in a container, on the container's server."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tercet.converge.fleet import Completed

# pct's own messages, with status 255 or 2, if the container is gone. Programs may print similar messages, and psql
# exits with the same status. Only pct's exact messages count, because a program that ran must not be run again.
NOT_THERE = re.compile(r"container '\d+' not running!|Configuration file 'nodes/\S+/lxc/\d+\.conf' does not exist")


def in_container(vmid: int, argv: Sequence[str]) -> tuple[str, ...]:
    """The command on the server that runs a program in a container."""
    return ("pct", "exec", str(vmid), "--", *argv)


def gone(done: Completed) -> str | None:
    """The message of pct if the container does not run on that server; None if the program ran."""
    if done.status not in (2, 255):
        return None
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].strip()
    return last if NOT_THERE.fullmatch(last) else None
