"""The processes of the node's PostgreSQL."""

from __future__ import annotations


def postmaster(pid_file: str) -> int:
    """The process id in its file, 0 if there is none."""
    try:
        with open(pid_file) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return 0


def walreceiver(pid: int) -> int:
    """The postmaster's child process that receives WAL, 0 if there is none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/cmdline") as file:
                if "walreceiver" in file.read():
                    return int(child)
    except OSError:
        pass
    return 0
