"""Lists the contents of a finished tree, so that an incomplete one is never used.

A tree is made as FOLDER/rootfs in a scratch folder. `publish` writes a list of its contents to FOLDER/manifest, syncs
everything to the disk and gives the folder its final name. So after a power cut, either the whole folder has that
name, or no folder has it.

Invariant: a tree with a final name that fits its manifest is what was built. The manifest has no digests. In a fraction
of a second, it detects a tree that lost files or their content. Only the programs, whose digests the lock file has, are
compared byte by byte.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from types import MappingProxyType

from tercet.converge.events import Emit, Event
from tercet.host.process import run
from tercet.image.cache import sync_folder, timestamp
from tercet.image.store import file_sha256

MANIFEST = "manifest"
SYNC_TIMEOUT = 600.0  # seconds; 650 MB on a slow disk that is busy

Digests = Mapping[str, str]
"""The sha256 of files, by path in the tree."""
NO_DIGESTS: Digests = MappingProxyType({})


async def publish(folder: Path, final: Path) -> None:
    """Give the scratch folder, which holds a finished `rootfs`, its final name."""
    await asyncio.to_thread(_write, folder)
    await run(["sync", "--file-system", str(folder)], timeout=SYNC_TIMEOUT)
    await asyncio.to_thread(_move, folder, final)


def _write(folder: Path) -> None:
    (folder / MANIFEST).write_text("".join(f"{line}\n" for line in listed(folder / "rootfs")))


def _move(folder: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(final)
    sync_folder(final.parent)


def finished(folder: Path) -> bool:
    """Whether a tree was published there. Takes microseconds; `difference` checks it in detail."""
    return (folder / MANIFEST).is_file() and (folder / "rootfs").is_dir()


async def whole(folder: Path, emit: Emit, digests: Digests = NO_DIGESTS) -> bool:
    """Whether a tree was published there and is unchanged. Only the holder of the cache's lock may call this.

    A tree that changed is renamed, not removed, because containers may use it; the operator removes it.
    """
    if not await asyncio.to_thread(folder.exists):
        return False
    problem = await asyncio.to_thread(difference, folder, digests)
    if problem is None:
        return True
    aside = folder.with_name(f"{folder.name}.torn-{timestamp()}")
    await asyncio.to_thread(_move, folder, aside)
    text = f"{folder.name} is incomplete and made again: {problem}. Remove {aside} when no container uses it"
    emit(Event("image", "progress", text))
    return False


def difference(folder: Path, digests: Digests = NO_DIGESTS) -> str | None:
    """The first difference of the tree from its manifest, or of a file from its digest; None if there is none."""
    if not finished(folder):
        return f"expected rootfs and {MANIFEST}, found not both"
    wanted = (folder / MANIFEST).read_text().splitlines()
    found = list(listed(folder / "rootfs"))
    if found == wanted:
        return _changed(folder / "rootfs", digests)
    lost, new = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    return f"expected {(lost or ['nothing'])[0]}, found {(new or ['nothing'])[0]}"


def _changed(rootfs: Path, digests: Digests) -> str | None:
    """The first file without its digest. Reads about a gigabyte per second."""
    for name, sha256 in digests.items():
        if (found := file_sha256(rootfs / name)) != sha256:
            return f"expected {name} with the sha256 {sha256}, found {found}"
    return None


def listed(tree: Path) -> Iterator[str]:
    """A line for every entry of the tree, in a fixed order: path, type and mode, owner, and size or target."""
    pending = [str(tree)]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            content = ""
            if S_ISDIR(status.st_mode):
                pending.append(entry.path)
            elif S_ISLNK(status.st_mode):
                content = ascii(os.readlink(entry.path))  # noqa: PTH115 - thousands of them
            elif S_ISREG(status.st_mode):
                content = str(status.st_size)
            else:
                content = str(status.st_rdev)
            name = ascii(entry.path[len(str(tree)) + 1 :])
            yield f"{name} {status.st_mode:o} {status.st_uid}:{status.st_gid} {content}"
