"""The node's root filesystem: the base system with the components' programs, in place of a second copy of it.

The tree shares the base's files by hard links, so a new program costs its own size and not the base's. Nothing
may write to either tree: nodes run on overlays above it, or on what was unpacked from the template.
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
from tercet.image.manifest import publish, whole
from tercet.image.progress import beating
from tercet.image.store import place

COPY_TIMEOUT = 300.0  # seconds; takes about one
EXPORT_TIMEOUT = 1800.0  # seconds; takes about 20 on two cores
PROGRAM_TIMEOUT = 20.0  # seconds for a program to print its version


def image_key(base: str, programs: Iterable[Program]) -> str:
    """16 hex digits that name the tree: the base's definition and every program's content."""
    parts = [base, sorted((program.name, program.sha256) for program in programs)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def image_tree(cache: Cache, key: str) -> Path:
    """Where the finished tree of that key is or will be."""
    return cache.images / key / "rootfs"


async def ensure_tree(
    cache: Cache, key: str, base: Path, programs: Mapping[Program, tuple[str, ...]], emit: Emit
) -> Path:
    """Build the tree unless it is there. Each program goes with the arguments that make it print its version."""
    tree = image_tree(cache, key)
    if await whole(tree.parent, emit):
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
    """The program at its target and the link to it, as Program says."""
    target = rootfs / program.binary.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    place(program.source, target)
    link = rootfs / program.link.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(program.binary)


async def prove(rootfs: Path, program: Program, arguments: tuple[str, ...]) -> None:
    """Start the program in the tree: a library that Debian has not, or a processor that cannot run it, shows here.

    It gets namespaces of its own, with /proc (Nomad looks itself up there) and without a network.
    """
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", f"--mount-proc={rootfs}/proc"]
    try:
        await run([*alone, "chroot", str(rootfs), program.link, *arguments], timeout=PROGRAM_TIMEOUT, what=program.name)
    except TercetError as error:
        raise TercetError(
            f"{program.name} {program.version} ({program.source}) should run in the image, but does not: {error}"
        ) from error


async def export(rootfs: Path, target: Path, emit: Emit) -> None:
    """Pack the tree as a Proxmox container template, .tar.zst, complete under its name or not there at all.

    The same files make the same bytes, whenever and wherever they were put together.
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
        # Else tar's process ID and the files' own times of use are in it.
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        "--use-compress-program=zstd -T0 -6",
        "--exclude=./dev/*",  # an unprivileged container could not make them; the host mounts its own /dev
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
    """How many files the tree has, and the time of the newest Python module of Debian's (0: there is none).

    Files that the building itself made are younger and get this time; Debian's own keep theirs. Python compares the
    time of a module with the one in its compiled form, so that of all files these must not be changed.
    """
    modules = [path for path in rootfs.glob("usr/lib/python3*/**/*.py") if path.is_file() and not path.is_symlink()]
    return 1 + sum(1 for _ in rootfs.rglob("*")), max((int(path.stat().st_mtime) for path in modules), default=0)
