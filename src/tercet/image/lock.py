"""tercet.lock.json: which component came from where, with version and sha256, and which packages of Debian the base
system has. Written whole and atomically.

The lock pins: an entry that fits the inventory is used as it is, without any network, as long as its file is
in the cache. Removing an entry makes tercet choose anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tercet.errors import TercetError
from tercet.image.cache import write_atomically


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProgramEntry(_Entry):
    """One binary: its digest, and its size in bytes."""

    sha256: str
    size: int


class ComponentEntry(_Entry):
    """What was chosen for one component."""

    requested: str
    """The inventory's word: auto, official, go-module, oci-image, path:…"""
    source: str
    """What came of it: one source's name."""
    version: str
    arch: str
    origin: str
    """URL, module with toolchain, image with digest, or path; for people."""
    programs: dict[str, ProgramEntry]
    when: str
    """UTC, ISO 8601."""
    stamp: str = ""
    """What the source goes by besides the version: the file at a path, a wrapper's go.sum. See Source.stamp."""


class ProxyEntry(_Entry):
    """That PgCat could not be had for `proxy: auto`, and why; kept so that the proxy does not change by itself."""

    requested: str
    reason: str
    when: str


class DebianEntry(_Entry):
    """What the base system consists of."""

    definition: str
    """What was asked for: see base.definition."""
    packages: dict[str, str]
    """Every package with its version."""
    when: str


class Lock(_Entry):
    """The file's content. `components` is keyed by component name."""

    format: Literal[1] = 1
    components: dict[str, ComponentEntry] = {}
    proxy: ProxyEntry | None = None
    debian: DebianEntry | None = None


def read_lock(path: Path) -> Lock:
    """The lock, empty where there is no file. Raises TercetError where it cannot be understood."""
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except (OSError, ValidationError) as error:
        found = _first(error) if isinstance(error, ValidationError) else error.strerror
        raise TercetError(
            f"expected tercet's record of component sources in {path}, found {found}: "
            "restore it, or remove it to let tercet choose its sources anew"
        ) from error


def _first(error: ValidationError) -> str:
    """What is wrong first, and where, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{first['msg']} at {where}" if where else first["msg"]


class LockFile:
    """The lock while an image is prepared: every choice is on disk as soon as it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = read_lock(path)

    def choose(self, component: str, entry: ComponentEntry) -> None:
        """Record a component's source."""
        self._save(self.lock.model_copy(update={"components": {**self.lock.components, component: entry}}))

    def settle_proxy(self, entry: ProxyEntry | None) -> None:
        """Record why PgCat was not had, or forget that it was not."""
        if entry != self.lock.proxy:
            self._save(self.lock.model_copy(update={"proxy": entry}))

    def settle_debian(self, entry: DebianEntry) -> None:
        """Record what the base system consists of."""
        if entry != self.lock.debian:
            self._save(self.lock.model_copy(update={"debian": entry}))

    def _save(self, lock: Lock) -> None:
        ordered = lock.model_copy(update={"components": dict(sorted(lock.components.items()))})
        write_atomically(self._path, ordered.model_dump_json(indent=2, exclude_defaults=False) + "\n")
        self.lock = ordered
