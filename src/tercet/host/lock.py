"""A lock with one holder at a time on this machine. The kernel releases it when its holder dies. The lock file contains
the holder's name.

A process that inherits the open lock file holds the lock, too. So a process that the holder started keeps the lock
until it ends, even if the holder itself was killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from tercet.errors import TercetError

LOCKS = Path("/run/lock")
POLL = 0.005
SHARERS_S = 5.0  # seconds for the processes that share the file to end; they need a few milliseconds


@asynccontextmanager
async def held(name: str, who: str) -> AsyncIterator[int]:
    """Hold the lock `name`. Yields its open file, to share. If it is taken, the TercetError has the holder's note."""
    path = LOCKS / f"{name}.lock"
    file = acquire(path)
    try:
        note = {"who": who, "pid": os.getpid(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(note).encode(), 0)
        yield file
    finally:
        os.close(file)
        await _remove(path)


async def _remove(path: Path) -> None:
    """Remove the file when the processes that share it have ended, unless another holder has it by then."""
    for _ in range(int(SHARERS_S / POLL)):
        if _removed(path):
            return
        await asyncio.sleep(POLL)


def _removed(path: Path) -> bool:
    """True if the file is removed or has another holder; False while processes still share it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return f'"pid": {os.getpid()},'.encode() not in note(file)
    else:
        path.unlink(missing_ok=True)  # while the lock is held, so that no other process can lock a removed file
        return True
    finally:
        os.close(file)


def acquire(path: Path) -> int:
    """Open and lock the file that has this name at the moment of locking."""
    path.parent.mkdir(parents=True, exist_ok=True)  # not every system creates /run/lock
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = describe(note(file))
            os.close(file)
            raise TercetError(f"{holder}; wait until it is done, or end it, then run this again") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)  # the previous holder removed the file before it was locked here


def note(file: int) -> bytes:
    """The note that the holder writes right after it takes the lock. Waits briefly for it if needed."""
    for _ in range(10):
        if said := os.pread(file, 4096, 0):
            return said
        time.sleep(0.05)
    return b""


def describe(said: bytes) -> str:
    """The holder's note as the start of a sentence."""
    try:
        holder = json.loads(said)
        process = "" if str(holder["pid"]) in holder["who"] else f" (process {holder['pid']})"
        return f"the platform is being changed by {holder['who']}{process} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "the platform is being changed by another process, which has not yet said who it is"
