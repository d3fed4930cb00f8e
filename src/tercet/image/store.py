"""The programs in the cache, by content: programs/NAME/SHA256/NAME, and what is known about their origin."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from tercet.converge.resources import Program
from tercet.image.cache import Cache, sync_file, sync_folder, write_atomically
from tercet.image.elf import Arch, check_program
from tercet.image.lock import ComponentEntry, ProgramEntry


def program_path(cache: Cache, name: str, sha256: str) -> Path:
    return cache.programs / name / sha256 / name


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def put(cache: Cache, name: str, source: Path, arch: Arch) -> ProgramEntry:
    """Put the program at `source` into the cache, by hard link if the file system allows it, otherwise as a copy."""
    check_program(source, arch)
    entry = ProgramEntry(sha256=file_sha256(source), size=source.stat().st_size)
    target = program_path(cache, name, entry.sha256)
    if intact(cache, name, entry):
        return entry
    target.parent.mkdir(parents=True, exist_ok=True)
    place(source, target)
    return entry


def place(source: Path, target: Path) -> None:
    """Put a program at `target`, complete or not at all, mode 755."""
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        new = folder / target.name
        try:
            os.link(source, new)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, new)
        new.chmod(0o755)
        sync_file(new)  # later, only its size is checked
        new.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def present(cache: Cache, programs: Mapping[str, ProgramEntry]) -> bool:
    """Whether every file exists with its size. Takes microseconds."""
    return all(_sized(program_path(cache, name, entry.sha256), entry.size) for name, entry in programs.items())


def intact(cache: Cache, name: str, entry: ProgramEntry) -> bool:
    """Whether the file exists with the content of the entry. Reads the whole file."""
    path = program_path(cache, name, entry.sha256)
    return _sized(path, entry.size) and file_sha256(path) == entry.sha256


def _sized(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def programs_of(cache: Cache, entry: ComponentEntry) -> tuple[Program, ...]:
    """The entry's programs as resources of a node."""
    return tuple(
        Program(name, entry.version, program.sha256, program_path(cache, name, program.sha256))
        for name, program in entry.programs.items()
    )


def remember(cache: Cache, component: str, entry: ComponentEntry) -> None:
    """Store the entry in the cache, so that another platform can use it without downloading again."""
    write_atomically(
        _memory(cache, component, entry.version, entry.arch, entry.source), entry.model_dump_json(indent=2)
    )


def recall(cache: Cache, component: str, version: str, arch: str, source: str) -> ComponentEntry | None:
    """The entry that `remember` stored, if there is one and it can be read."""
    try:
        return ComponentEntry.model_validate_json(_memory(cache, component, version, arch, source).read_bytes())
    except (OSError, ValidationError):
        return None


def _memory(cache: Cache, component: str, version: str, arch: str, source: str) -> Path:
    return cache.components / component / f"{version}-{arch}-{source}.json"
