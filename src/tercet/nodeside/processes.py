"""The processes of the node's PostgreSQL."""

from __future__ import annotations

import os


def postmaster(pid_file: str) -> int:
    """The process id in its file, 0 if there is none."""
    try:
        with open(pid_file) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return 0


def walreceiver(pid: int, state: str = "") -> int:
    """The postmaster's child process that receives WAL, 0 if there is none, or none in this state (`streaming`)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/cmdline") as file:
                if f"walreceiver {state}".rstrip() in file.read():
                    return int(child)
    except OSError:
        pass
    return 0


def running(data: str) -> int:
    """The process id of the postmaster that runs in this data directory, which may be signalled; 0 if none runs.

    postmaster.pid alone proves nothing: it remains after a crash, its number may belong to another program by now, and
    a single-user backend (pg_rewind starts one) writes a negative number, which means a process group to kill(2).
    """
    try:
        pid = postmaster(f"{data}/postmaster.pid")
        if pid <= 1 or not os.path.samefile(f"/proc/{pid}/cwd", data):
            return 0
        with open(f"/proc/{pid}/comm") as file:
            return pid if file.read().strip() == "postgres" else 0
    except OSError:
        return 0
