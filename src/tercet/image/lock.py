"""tercet.lock.json: the source, version and sha256 of each component, and the Debian packages of the base system. It is
always written as a whole, atomically.

The lock file pins: an entry that fits the inventory is used as it is, without the network, if its file is in the cache.
After an entry is removed, tercet chooses again.
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
    """The choice for one component."""

    requested: str
    """The value in the inventory: auto, official, go-module, oci-image, path:…"""
    source: str
    """The name of the source that was used."""
    version: str
    arch: str
    origin: str
    """URL, module with toolchain, image with digest, or path; as text for people."""
    programs: dict[str, ProgramEntry]
    when: str
    """UTC, ISO 8601."""
    stamp: str = ""
    """What the result depends on besides the version: the file at a path, a wrapper's go.sum. See Source.stamp."""


class ProxyEntry(_Entry):
    """The reason why PgCat was not available for `proxy: auto`; kept so that the proxy does not change by itself."""

    requested: str
    reason: str
    when: str


class ArchiveEntry(_Entry):
    """The file of one Debian package: its path on a mirror, and its digest in the signed list of packages."""

    path: str
    sha256: str


class DebianEntry(_Entry):
    """The packages of the base system."""

    definition: str
    """The definition of the base system; see base.definition."""
    packages: dict[str, str]
    """Every package with its version."""
    archives: dict[str, ArchiveEntry] = {}
    """The file of every package, by the same names. Empty if an older tercet built the base system."""
    when: str


class Lock(_Entry):
    """The file's content. `components` is keyed by component name."""

    format: Literal[1] = 1
    components: dict[str, ComponentEntry] = {}
    proxy: ProxyEntry | None = None
    debian: DebianEntry | None = None


def read_lock(path: Path) -> Lock:
    """The lock; empty if there is no file. Raises TercetError if the file is not valid."""
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except (OSError, ValidationError) as error:
        found = _first(error) if isinstance(error, ValidationError) else error.strerror
        raise TercetError(
            f"expected tercet's record of component sources in {path}, found {found}: "
            "restore it, or remove it to let tercet choose its sources again"
        ) from error


def _first(error: ValidationError) -> str:
    """The first error and its place, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{first['msg']} at {where}" if where else first["msg"]


class LockFile:
    """The lock while an image is prepared. Every choice is written to the disk at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = read_lock(path)

    def choose(self, component: str, entry: ComponentEntry) -> None:
        """Record a component's source."""
        self._save(self.lock.model_copy(update={"components": {**self.lock.components, component: entry}}))

    def settle_proxy(self, entry: ProxyEntry | None) -> None:
        """Record why PgCat was not available, or remove that record."""
        if entry != self.lock.proxy:
            self._save(self.lock.model_copy(update={"proxy": entry}))

    def settle_debian(self, entry: DebianEntry) -> None:
        """Record the packages of the base system."""
        if entry != self.lock.debian:
            self._save(self.lock.model_copy(update={"debian": entry}))

    def _save(self, lock: Lock) -> None:
        ordered = lock.model_copy(update={"components": dict(sorted(lock.components.items()))})
        write_atomically(self._path, ordered.model_dump_json(indent=2, exclude_defaults=False) + "\n")
        self.lock = ordered
