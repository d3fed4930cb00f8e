"""The image: one root filesystem for all nodes. It is found in milliseconds if it exists, and otherwise built.

Base system, downloads and Go builds run in parallel. The next run continues whatever was interrupted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tercet.converge.events import Emit, Event
from tercet.converge.resources import Program
from tercet.errors import TercetError
from tercet.image.base import base_key, base_tree, ensure_base, pinned_base
from tercet.image.cache import Cache
from tercet.image.catalog import components
from tercet.image.elf import host_arch
from tercet.image.gotools import GoTools
from tercet.image.lock import LockFile, read_lock
from tercet.image.manifest import Digests, difference, finished
from tercet.image.proxy import resolve, resolved
from tercet.image.resolve import Run, obtain, pinned
from tercet.image.store import present, programs_of
from tercet.image.tree import digests_of, ensure_tree, export, image_key, image_tree
from tercet.inventory.model import Inventory
from tercet.inventory.providers import ImageForm

WAIT = 5400.0  # seconds to wait for another process that prepares an image; a first build takes up to 30 minutes
SPACE = 3_000_000_000  # bytes; a base system and all programs take 0.9 GB, and twice that while they are made


@dataclass(frozen=True)
class Image:
    """`key` identifies its content. The tree already has the `programs`; a running node may still have older ones."""

    key: str
    rootfs: Path
    programs: tuple[Program, ...]
    proxy: Literal["pgcat", "pgpool"]
    proxy_reason: str

    @property
    def archive(self) -> Path:
        """The path of the packed image, with a name in Proxmox's form: SYSTEM-VERSION-NAME_VERSION."""
        return self.rootfs.parent / f"debian-13-tercet_{self.key}.tar.zst"


def has_form(image: Image, form: ImageForm) -> bool:
    """Whether the image exists on this machine in that form."""
    return form == "tree" or image.archive.exists()


def find_image(inventory: Inventory, lock: Path) -> Image | None:
    """The image for inventory and lock, if the cache has all of it. Does not build, hash or use the network."""
    cache, arch, record = Cache(inventory.cache), host_arch(), read_lock(lock)
    choice, base = resolved(inventory, record, arch), pinned_base(record, inventory.versions.debian, arch)
    if choice is None or base is None:
        return None
    programs: list[Program] = []
    for component in components(inventory, choice[0]):
        entry = pinned(component, inventory, record, arch)
        if entry is None or not present(cache, entry.programs):
            return None
        programs += programs_of(cache, entry)
    key = image_key(base_key(base), programs)
    rootfs = image_tree(cache, key)
    return Image(key, rootfs, tuple(programs), *choice) if finished(rootfs.parent) else None


async def ensure_image(inventory: Inventory, lock: Path, emit: Emit) -> Image:
    """The image, which is built if it is missing. Idempotent; continues an interrupted run.

    Raises TercetError if a component is not available or does not fit, or if another process holds the cache for longer
    than an hour and a half.
    """
    image = find_image(inventory, lock)
    if image is not None and await asyncio.to_thread(difference, *_content(image)) is None:
        emit(Event("image", "done", f"image {image.key}: in the cache"))
        return image
    from tercet.image.download import Downloads  # noqa: PLC0415 - an HTTP client takes long to import

    started = time.monotonic()
    cache, arch = Cache(inventory.cache), host_arch()
    async with cache.writing(f"tercet preparing the image of {inventory.platform}", emit, WAIT):
        cache.sweep()
        cache.need_space(SPACE)
        emit(Event("image", "started", "preparing the image"))
        async with Downloads(cache.downloads) as downloads:
            run = Run(inventory, cache, arch, LockFile(lock), downloads, GoTools(cache), emit)
            base = ensure_base(cache, inventory.versions.debian, arch, run.lock, emit)
            others = [obtain(component, run) for component in components(inventory, "pgpool")]
            debian, (proxy, _), *_ = await together(base, resolve(run), *others)
        programs = {
            program: component.programs[program.name]
            for component in components(inventory, proxy)
            for program in programs_of(cache, run.lock.lock.components[component.name])
        }
        base_name = base_key(debian)
        key = image_key(base_name, programs)
        await ensure_tree(cache, key, base_tree(cache, base_name), programs, emit)
    found = find_image(inventory, lock)
    if found is None:
        raise TercetError(f"image {key} was made, but is not complete in {cache.root}; run again")
    emit(Event("image", "done", f"image {key}: {found.rootfs}", seconds=time.monotonic() - started, fraction=1.0))
    return found


def _content(image: Image) -> tuple[Path, Digests]:
    """The folder of the image's tree, and the digests of its programs."""
    return image.rootfs.parent, digests_of(image.programs)


async def export_template(image: Image, target: Path, emit: Emit) -> Path:
    """Pack the image's tree as a Proxmox container template at `target` (….tar.zst).

    An existing file counts as finished if its name contains the image's key, and is replaced otherwise.
    """
    if not (image.key in target.name and _is_file(target)):
        await export(image.rootfs, target, emit)
    return target


def _is_file(path: Path) -> bool:
    return path.is_file()


async def together(*jobs: Coroutine[Any, Any, Any]) -> list[Any]:
    """All results in order. The first failure ends the other jobs and is raised alone, without its group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except* TercetError as errors:
        failure = _first(errors)
    else:
        return [task.result() for task in tasks]
    raise failure


def _first(errors: BaseExceptionGroup[TercetError]) -> TercetError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, TercetError) else TercetError(str(error))
