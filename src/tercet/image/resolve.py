"""Gets the programs of a component into the cache: from the lock file, then from the cache, then from the sources."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tercet.converge.events import Emit
from tercet.errors import TercetError
from tercet.image import store
from tercet.image.cache import Cache, timestamp
from tercet.image.catalog import Package
from tercet.image.elf import Arch
from tercet.image.gotools import GoTools
from tercet.image.lock import ComponentEntry, Lock, LockFile, ProgramEntry
from tercet.image.progress import Progress
from tercet.image.sources.source import Source, Unavailable, Wanted, Workshop
from tercet.inventory.model import Inventory

if TYPE_CHECKING:
    from tercet.image.download import Downloads  # see sources/source.py


@dataclass(frozen=True, slots=True)
class Run:
    """Shared by all components of one run."""

    inventory: Inventory
    cache: Cache
    arch: Arch
    lock: LockFile
    downloads: Downloads
    go: GoTools
    emit: Emit


def pinned(component: Package, inventory: Inventory, lock: Lock, arch: Arch) -> ComponentEntry | None:
    """The lock's entry if it still fits the inventory. Its files may be missing."""
    entry = lock.components.get(component.name)
    if entry is None or entry.programs.keys() != component.programs.keys():
        return None
    asked = (component.requested(inventory), component.version(inventory), arch)
    if (entry.requested, entry.version, entry.arch) != asked:
        return None
    source = component.candidates(entry.requested).get(entry.source)
    return entry if source is not None and _as_then(source, entry) else None


def _as_then(source: Source, entry: ComponentEntry) -> bool:
    """Whether the source's stamp is unchanged. (An operator's file that is gone counts as unchanged: the cache has a
    copy.)
    """
    return source.stamp(tuple(entry.programs)) in ("", entry.stamp)


class NoSource(Unavailable):
    """No source of the component can be reached. `reasons` has the reason of each."""

    def __init__(self, component: Package, version: str, reasons: Sequence[str], locked: bool) -> None:
        self.reasons = "; ".join(reasons)
        others = f', remove "{component.name}" from the lock to let tercet try its other sources' if locked else ""
        super().__init__(
            f"{component.name} {version} is not available: {self.reasons}. Give this machine access to one of these"
            f"{others}, or give a binary: sources.{component.key}: path:/…"
        )


async def obtain(component: Package, run: Run) -> ComponentEntry:
    """The component's programs, in the cache, verified and recorded in the lock.

    Raises NoSource if no source can be reached, and TercetError if a source gave something wrong.
    """
    progress = Progress(component.name, run.emit)
    entry = pinned(component, run.inventory, run.lock.lock, run.arch)
    if entry is not None and await _all_intact(run.cache, entry):
        progress.say(f"{entry.version} from {entry.source}, as the lock says", state="done")
        return entry
    candidates = component.candidates(component.requested(run.inventory))
    if entry is not None:  # the lock pins the source, too: nobody gets another one by blocking it
        candidates = {entry.source: candidates[entry.source]}
    known = await _recalled(component, candidates, entry, run)
    if known is None:
        progress.say(f"{component.version(run.inventory)} is wanted", state="started")
        try:
            known = await _fetched(component, candidates, entry is not None, run, progress)
            _same_as_pinned(component, entry, known)
        except NoSource:
            progress.say("not available", state="done")  # the caller decides what this means
            raise
        except TercetError:
            progress.say("failed", state="failed")
            raise
        if known.source != "path":  # a path is checked every time
            store.remember(run.cache, component.name, known)
        progress.say(f"{known.version} from {known.source}: {known.origin}", 1.0, "done")
    else:
        progress.say(f"{known.version} from {known.source}, in the cache", state="done")
    run.lock.choose(component.name, known)
    return known


async def _all_intact(cache: Cache, entry: ComponentEntry) -> bool:
    for name, program in entry.programs.items():
        if not await asyncio.to_thread(store.intact, cache, name, program):
            return False
    return True


async def _recalled(
    component: Package, sources: Mapping[str, Source], entry: ComponentEntry | None, run: Run
) -> ComponentEntry | None:
    """What an earlier run got from one of these sources, regardless of its lock file, but as this lock's entry says."""
    for name, source in sources.items():
        known = store.recall(run.cache, component.name, component.version(run.inventory), run.arch, name)
        if known is None or known.programs.keys() != component.programs.keys() or _changed(entry, known):
            continue
        if _as_then(source, known) and await _all_intact(run.cache, known):
            return known.model_copy(update={"requested": component.requested(run.inventory)})
    return None


async def _fetched(
    component: Package,
    candidates: Mapping[str, Source],
    locked: bool,
    run: Run,
    progress: Progress,
) -> ComponentEntry:
    """Try one source after the other. There is only one if it is `locked`."""
    version = component.version(run.inventory)
    missed: list[str] = []
    for name, source in candidates.items():
        progress.say(f"trying {name}")
        try:
            found = await _from_source(component, name, source, run, progress)
        except Unavailable as error:
            missed.append(f"{name}: {error}")
            progress.say(f"not from {name}: {error}")
        except TercetError as error:
            raise TercetError("; ".join([f"{component.name} {version}: {error}", *missed])) from error
        else:
            return found
    raise NoSource(component, version, missed, locked)


async def _from_source(component: Package, name: str, source: Source, run: Run, progress: Progress) -> ComponentEntry:
    stamp = source.stamp(tuple(component.programs))
    wanted = Wanted(component.name, component.version(run.inventory), run.arch, tuple(component.programs))
    with run.cache.scratch(component.name) as scratch:
        workshop = Workshop(run.cache, scratch, run.downloads, run.go, progress)
        fetched = await source.fetch(wanted, workshop)
        programs: dict[str, ProgramEntry] = {}
        for program, file in fetched.files.items():
            programs[program] = await asyncio.to_thread(store.put, run.cache, program, file, run.arch)
    return ComponentEntry(
        requested=component.requested(run.inventory),
        source=name,
        version=wanted.version,
        arch=run.arch,
        origin=fetched.origin,
        programs=programs,
        when=timestamp(),
        stamp=stamp,
    )


def _changed(entry: ComponentEntry | None, found: ComponentEntry) -> str:
    """The first program that was published with other content than the lock's entry has; "" if there is none.

    A build may change, because another Go or C compiler gives other bytes, and so may an operator's own file.
    """
    if entry is None or entry.source != found.source or found.source in ("go-module", "path"):
        return ""
    return next((name for name, each in entry.programs.items() if found.programs[name].sha256 != each.sha256), "")


def _same_as_pinned(component: Package, entry: ComponentEntry | None, found: ComponentEntry) -> None:
    """Refuse a published file that has changed."""
    if entry is not None and (name := _changed(entry, found)):
        raise TercetError(
            f"{name} {found.version} from {found.source} should have the sha256 {entry.programs[name].sha256} that the "
            f"lock pins, but has {found.programs[name].sha256}. Published files do not change: find out why, then "
            f'remove "{component.name}" from the lock to accept it'
        )
