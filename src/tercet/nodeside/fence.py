"""Runs a program for the holder of the platform's lock: `fence.py FOLDER KNOWN TERM PROGRAM…`.

Every holder has a term, a number that is higher than those of all earlier holders. A holder that was cut off or
suspended may have left programs on the node, and its commands may still arrive when another holder already works.

Invariant: when the first program of a term starts on the node, no program of an earlier term runs there and none can
start any more. The same holds for processes that such a program started and that still have its files open.

KNOWN has the highest term that was seen here. It is on the disk, so that it survives a reboot. The programs of a term
hold a shared lock on FOLDER/TERM while they live: they inherit the open file. A program reads the known term and takes
the lock of its own term in one critical section, so it is either refused or found by the next term. The first program
of the next term raises the known term, then waits until it can lock each older file exclusively, and after GRACE kills
the processes that still hold one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator

REFUSED = 77  # the exit status of a program that was not started
OVER = "refused: "  # the first word on standard error in that case
GRACE = 3.0  # seconds that programs of an earlier holder have to end by themselves
DEATH = 30.0  # seconds that a killed process may take to end; one that waits for a disk may take that long
POLL = 0.02


def main() -> None:
    folder, kept, term, argv = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    try:
        enter(folder, kept, term)
    except RefusedError as error:
        sys.stderr.write(f"{OVER}{error}\n")
        sys.exit(REFUSED)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


class RefusedError(Exception):
    """The program must not start."""


def enter(folder: str, kept: str, term: int) -> None:
    """Hold the lock of `term` from now on, and end programs of earlier terms. RefusedError if a later term is known."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with locked(os.path.join(folder, "lock")):
        known = highest(kept)
        if term < known:
            raise RefusedError(f"another operator holds the platform's lock since (term {known}; this is {term})")
        own = os.open(os.path.join(folder, str(term)), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(own, fcntl.LOCK_SH)
        os.set_inheritable(own, True)
        if term > known:
            remember(kept, term)
    # One at a time, because processes that have an old lock open are killed.
    with locked(os.path.join(folder, "ending")):
        for name in os.listdir(folder):
            if name.isdigit() and int(name) < term:
                end(os.path.join(folder, name))


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock at `path` exclusively."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def highest(kept: str) -> int:
    """The highest term that was seen here; 0 if there was none."""
    try:
        with open(kept) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def remember(kept: str, term: int) -> None:
    """Write the term in place, always with the same number of bytes, so that this also works on a full disk."""
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    file = os.open(kept, os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(file, b"%020d\n" % term, 0)
    os.fsync(file)
    os.close(file)
    directory = os.open(os.path.dirname(kept), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def end(path: str) -> None:
    """Wait until no process holds this lock of an earlier term; after GRACE, kill those that do. Then remove
    the file.
    """
    file = os.open(path, os.O_RDWR)
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited > GRACE + DEATH:
            raise RefusedError(f"processes of an earlier operator's program do not die: {sorted(holders(file))}")
        if waited > GRACE:
            for process in holders(file):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(POLL)
    os.unlink(path)
    os.close(file)


def holders(file: int) -> set[int]:
    """The other processes that have the same file open."""
    wanted, found = os.fstat(file), set()
    for process in os.listdir("/proc"):
        if not process.isdigit() or int(process) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # the process has ended
            for each in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.stat(f"/proc/{process}/fd/{each}"), wanted):
                        found.add(int(process))
    return found


if __name__ == "__main__":
    main()
