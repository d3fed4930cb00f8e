"""What the image of a lock file consists of: every program and every Debian package, with version, source and digest.

The lock file is enough to list them. If the cache has the image, its content is compared with the lock file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from tercet.converge.resources import Program
from tercet.errors import TercetError
from tercet.image.archives import ORIGIN, url_of
from tercet.image.base import base_key, packages_of, pinned_base
from tercet.image.cache import Cache
from tercet.image.catalog import Package, Proxy, component, components
from tercet.image.elf import Arch
from tercet.image.lock import ComponentEntry, DebianEntry, Lock, read_lock
from tercet.image.manifest import finished
from tercet.image.resolve import pinned
from tercet.image.sources.go_module import PROXY, GoModule, escaped
from tercet.image.store import file_sha256, programs_of
from tercet.image.tree import image_key, image_tree
from tercet.inventory.model import Inventory

URL = re.compile(r"https?://[^\s,]+")


class Kind(Enum):
    """The kinds of parts. Those of Python belong to tercet itself, the others to the image."""

    PROGRAM = "program"
    DEBIAN = "debian"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Part:
    """One program or package. `name` is unique among its kind. `sha256` and `url` are "" if they are not known.

    `sha256` is that of a program itself, of a .deb file, or of a wheel. `url` is where this file was published, or the
    archive or module that the program is from.
    """

    kind: Kind
    name: str
    version: str
    source: str
    purl: str
    sha256: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """The image's `key`, its `components` (their names), and its parts.

    `problems` has one line for each difference of the cache from the lock file, `notes` has what else to know.
    """

    key: str
    arch: str
    components: tuple[str, ...]
    parts: tuple[Part, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def contents(inventory: Inventory, path: Path, arch: Arch) -> Contents:
    """The image that the lock file at `path` names, which may differ from the one that `up` would make now.

    Reads every program, and writes nothing. Raises TercetError if there is no lock file or if it names no image.
    """
    if not path.is_file():
        raise TercetError(f"expected tercet's record of sources in {path}, found no such file: `tercet up` makes it")
    lock, cache = read_lock(path), Cache(inventory.cache)
    entries = _entries(inventory, lock, path)
    debian = _debian(lock, path)
    programs = [program for entry in entries.values() for program in programs_of(cache, entry)]
    key = image_key(base_key(debian), programs)
    tree = image_tree(cache, key)
    notes = [*_stale(inventory, lock, entries, arch)]
    if finished(tree.parent):
        problems = [*_programs_compared(programs, tree), *_packages_compared(debian, tree)]
    else:
        problems = [*_programs_compared(programs, None)]
        notes.append(f"The cache {cache.root} does not have this image, so it was not compared with the lock file.")
    if not debian.archives:
        notes.append("The lock file has no digests of Debian packages, because an older tercet built the base system.")
    return Contents(
        key=key,
        arch=next(entry.arch for entry in entries.values()),
        components=tuple(entries),
        parts=(*_programs(entries), *_packages(debian, inventory.versions.debian)),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _entries(inventory: Inventory, lock: Lock, path: Path) -> dict[str, ComponentEntry]:
    """The lock's entry of each component of the image."""
    proxy: Proxy = "pgpool" if inventory.proxy == "pgpool" or lock.proxy is not None else "pgcat"
    names = [each.name for each in components(inventory, proxy)]
    if missing := [name for name in names if name not in lock.components]:
        raise TercetError(
            f"expected the sources of all components in {path}, found none of {', '.join(missing)}: "
            "`tercet up` records them"
        )
    return {name: lock.components[name] for name in names}


def _debian(lock: Lock, path: Path) -> DebianEntry:
    if lock.debian is None:
        raise TercetError(f"expected the image's Debian packages in {path}, found none: `tercet up` records them")
    return lock.debian


def _stale(inventory: Inventory, lock: Lock, entries: dict[str, ComponentEntry], arch: Arch) -> Iterator[str]:
    """Whether `up` would make another image, and why."""
    changed = [name for name in entries if pinned(component(name), inventory, lock, arch) is None]
    if pinned_base(lock, inventory.versions.debian, arch) is None:
        changed.append("Debian")
    if changed:
        yield (
            f"`tercet up` would make another image: inventory or tercet changed for {', '.join(changed)}. "
            "This is the one of the lock file."
        )


def _programs_compared(programs: Iterable[Program], tree: Path | None) -> Iterator[str]:
    """The problems with the programs in the tree, or with those that the cache has if there is no tree."""
    for program in programs:
        file = program.source if tree is None else tree / program.binary.lstrip("/")
        try:
            found = file_sha256(file)
        except FileNotFoundError:
            if tree is not None:
                yield f"{program.name}: expected {file}, found no such file"
        except OSError as error:
            yield f"{program.name}: expected to read {file}, found {error.strerror}"
        else:
            if found != program.sha256:
                yield f"{program.name}: expected the sha256 {program.sha256} of the lock file, found {found} in {file}"


def _packages_compared(debian: DebianEntry, tree: Path) -> Iterator[str]:
    try:
        found = packages_of(tree)
    except OSError as error:
        yield f"Debian's packages: expected to read their list in {tree}, found {error.strerror}"
        return
    for name in sorted(debian.packages.keys() | found.keys()):
        wanted, has = debian.packages.get(name, "none"), found.get(name, "none")
        if wanted != has:
            yield f"{name}: expected the version {wanted} of the lock file, found {has} in the image"


def _programs(entries: dict[str, ComponentEntry]) -> Iterator[Part]:
    for name, entry in entries.items():
        package = component(name)
        purl, url = _published(package, entry)
        for program, found in sorted(entry.programs.items()):
            yield Part(Kind.PROGRAM, program, entry.version, entry.origin, purl, found.sha256, url)


def _published(package: Package, entry: ComponentEntry) -> tuple[str, str]:
    """The package URL of a component, and where it was published ("" if nowhere)."""
    module = module_of(package) if entry.source == "go-module" else ""
    if module:
        return f"pkg:golang/{module}@v{_quoted(entry.version)}", f"{PROXY}/{escaped(module)}/@v/v{entry.version}.zip"
    purl = f"pkg:generic/{package.name}@{_quoted(entry.version)}"
    found = URL.match(entry.origin)
    return (f"{purl}?download_url={quote(found[0], safe='')}", found[0]) if found else (purl, "")


def module_of(package: Package) -> str:
    """The Go module of a component; "" if it has none."""
    return next((source.module for source in package.sources.values() if isinstance(source, GoModule)), "")


def _packages(debian: DebianEntry, suite: str) -> Iterator[Part]:
    for name, version in debian.packages.items():
        package, _, arch = name.rpartition(":")
        purl = f"pkg:deb/debian/{_quoted(package)}@{_quoted(version)}?arch={arch}&distro={suite}"
        archive = debian.archives.get(name)
        url = url_of(archive) if archive else ""
        yield Part(Kind.DEBIAN, name, version, url or ORIGIN, purl, archive.sha256 if archive else "", url)


def _quoted(text: str) -> str:
    """As package URLs have it: a colon stays."""
    return quote(text, safe=":")
