"""The cache's folders. There is only one writer at a time, and a final name always has complete contents."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tercet.converge.events import Emit, Event
from tercet.errors import TercetError

POLL = 0.5  # seconds between two attempts to get the lock; flock cannot wait with a deadline


@dataclass(frozen=True, slots=True)
class Cache:
    """The folders for finished programs and images, downloads, and work in progress. Everything can be made again."""

    root: Path

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def components(self) -> Path:
        """The folder with what is known about earlier components: one lock entry per file."""
        return self.root / "components"

    @property
    def toolchain(self) -> Path:
        return self.root / "toolchain"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder for work in progress, which is always removed at the end."""
        self.build.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.build))
        folder.chmod(0o755)  # apt drops root to download, and must be able to reach the target folder
        try:
            yield folder
        finally:
            discard(folder)

    def need_space(self, needed: int) -> None:
        """Raise TercetError unless `needed` bytes are free on the disk of the cache."""
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise TercetError(
                f"preparing the image needs {needed / 1e9:.0f} GB in {self.root}, and {free / 1e9:.1f} GB are free; "
                "make room, or name another folder: cache: /…"
            )

    def sweep(self) -> None:
        """Remove what a killed run left in `build`. Only the holder of the lock may call this."""
        for folder in self.build.glob("*") if self.build.is_dir() else ():
            discard(folder)

    @asynccontextmanager
    async def writing(self, purpose: str, emit: Emit, timeout: float) -> AsyncIterator[None]:
        """Hold the cache's lock. Waits at most `timeout` seconds for another process, and names that process."""
        path = self.root / "lock"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise TercetError(
                f"the cache {self.root} cannot be written ({error.strerror}); run with sudo, or name a folder of "
                "your own: cache: /…"
            ) from error
        try:
            await _acquire(descriptor, path, emit, timeout)
            holder = {"pid": os.getpid(), "since": timestamp(), "purpose": purpose}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
            yield
        finally:
            os.close(descriptor)  # this releases the lock


async def _acquire(descriptor: int, path: Path, emit: Emit, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    announced = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TercetError(
                    f"the cache is in use by {_holder(path)} and was not free within {timeout:.0f} s; "
                    f"wait for it, or end that process if it hangs (lock: {path})"
                ) from None
            if not announced:
                emit(Event("image", "progress", f"waiting for {_holder(path)}"))
                announced = True
            await asyncio.sleep(POLL)
        else:
            return


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} ({holder['purpose']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def discard(path: Path) -> None:
    """Remove a file or a tree, but never through a mount: a mount in it may be the host's /dev."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    inside = f"{path.resolve()}/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if (line.split()[4] + "/").startswith(inside):
            raise TercetError(
                f"{path} is left from an interrupted build and {line.split()[4]} is mounted in it; unmount that"
            )
    shutil.rmtree(path, ignore_errors=True)


def timestamp() -> str:
    """Now, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, content: str) -> None:
    """Write to a temporary name, then rename: a reader sees the old or the new content, even after a power cut.

    Raises TercetError if this is not possible, for example because the disk is full or the folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise TercetError(
            f"expected to write {path}, found {error.strerror}: make room there, or make its folder writable"
        ) from error


def sync_folder(folder: Path) -> None:
    """Sync the names in the folder to the disk; otherwise a power cut could lose a rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Sync the content of a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, content: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).rename(path)
        sync_folder(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
