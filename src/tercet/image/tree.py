"""The node's root filesystem: the base system with the components' programs.

The tree shares the base's files by hard links, so a new program costs only its own size. Nothing may write to either
tree: nodes run on overlays on top of it, or on files that were unpacked from the template.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tercet.converge.events import Emit, Event
from tercet.converge.resources import Program
from tercet.errors import TercetError
from tercet.host.process import need, run
from tercet.image.cache import Cache, sync_file, sync_folder
from tercet.image.manifest import Digests, publish, whole
from tercet.image.progress import beating
from tercet.image.store import place

COPY_TIMEOUT = 300.0  # seconds; takes about one
EXPORT_TIMEOUT = 1800.0  # seconds; takes about 20 on two cores
PROGRAM_TIMEOUT = 20.0  # seconds for a program to print its version


def image_key(base: str, programs: Iterable[Program]) -> str:
    """16 hex digits that identify the tree: the base system and the content of every program."""
    parts = [base, sorted((program.name, program.sha256) for program in programs)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def image_tree(cache: Cache, key: str) -> Path:
    """The path of the finished tree with that key, whether it exists or not."""
    return cache.images / key / "rootfs"


def digests_of(programs: Iterable[Program]) -> Digests:
    """The sha256 of each program, by its path in the tree."""
    return {program.binary.lstrip("/"): program.sha256 for program in programs}


async def ensure_tree(
    cache: Cache, key: str, base: Path, programs: Mapping[Program, tuple[str, ...]], emit: Emit
) -> Path:
    """Build the tree unless it exists. Each program is given with the arguments with which it prints its version."""
    tree = image_tree(cache, key)
    if await whole(tree.parent, emit, digests_of(programs)):
        return tree
    emit(Event("image", "progress", "adding the programs to the base system"))
    with cache.scratch("image") as scratch:
        rootfs = scratch / "image/rootfs"
        rootfs.parent.mkdir()
        await run(["cp", "--archive", "--link", str(base), str(rootfs)], timeout=COPY_TIMEOUT)
        for program in programs:
            await asyncio.to_thread(install, rootfs, program)
        for program, arguments in programs.items():
            await prove(rootfs, program, arguments)
        await publish(rootfs.parent, tree.parent)
    return tree


def install(rootfs: Path, program: Program) -> None:
    """Put the program at its target, with the link to it, as in Program."""
    target = rootfs / program.binary.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    place(program.source, target)
    link = rootfs / program.link.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program.binary)


async def prove(rootfs: Path, program: Program, arguments: tuple[str, ...]) -> None:
    """Start the program in the tree. This finds a library that Debian does not have, or a processor that cannot run it.

    It runs in its own namespaces, with /proc (Nomad looks itself up there) and without a network.
    """
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", f"--mount-proc={rootfs}/proc"]
    try:
        await run([*alone, "chroot", str(rootfs), program.link, *arguments], timeout=PROGRAM_TIMEOUT, what=program.name)
    except TercetError as error:
        raise TercetError(
            f"{program.name} {program.version} ({program.source}) should run in the image, but does not: {error}"
        ) from error


async def export(rootfs: Path, target: Path, emit: Emit) -> None:
    """Pack the tree as a Proxmox container template, .tar.zst. The file is complete or does not exist.

    The same files give the same bytes, at any time and on any machine.
    """
    need("zstd", "zstd")
    target.parent.mkdir(parents=True, exist_ok=True)
    total, newest = await asyncio.to_thread(_survey, rootfs)
    packed = 0

    def count(_line: str) -> None:
        nonlocal packed
        packed += 1

    def beat() -> None:
        emit(Event("image", "progress", f"template: {packed} of {total} files", fraction=min(1.0, packed / total)))

    new = target.with_name(f".{target.name}.new")
    argv = [
        *("tar", "--create", "--verbose", "--numeric-owner", "--xattrs", "--sort=name", "--one-file-system"),
        *("--clamp-mtime", f"--mtime=@{newest}"),
        # Otherwise the template would contain tar's process ID and the files' access times.
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        "--use-compress-program=zstd -T0 -6",
        "--exclude=./dev/*",  # an unprivileged container cannot create them; the host mounts its own /dev
        f"--file={new}",
        f"--directory={rootfs}",
        ".",
    ]
    try:
        async with beating(beat):
            await run(argv, timeout=EXPORT_TIMEOUT, on_line=count, what="tar")
        await asyncio.to_thread(sync_file, new)
        new.rename(target)
        sync_folder(target.parent)
    finally:
        new.unlink(missing_ok=True)


def _survey(rootfs: Path) -> tuple[int, int]:
    """The number of files of the tree, and the time of Debian's newest Python module (0 if it has none).

    Files that were made while building are newer and get this time; Debian's own files keep theirs. Python compares the
    time of a module with the one in its compiled form, so the times of modules must not be changed.
    """
    modules = [path for path in rootfs.glob("usr/lib/python3*/**/*.py") if path.is_file() and not path.is_symlink()]
    return 1 + sum(1 for _ in rootfs.rglob("*")), max((int(path.stat().st_mtime) for path in modules), default=0)
