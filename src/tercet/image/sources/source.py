"""The interface of every source.

A source is a value: its data about a component (URLs, module, tags) is in the component's `programs.py`. It fetches or
builds the programs of one version, verifies them, and says where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tercet.errors import TercetError
from tercet.image.cache import Cache
from tercet.image.elf import Arch
from tercet.image.gotools import GoTools
from tercet.image.progress import Progress

if TYPE_CHECKING:
    from tercet.image.download import Downloads  # imports an HTTP client, which is not needed to find an image


class Unavailable(TercetError):  # noqa: N818 - a finding more than an error
    """The source is not available here (no network, no such version); with `auto`, the next source is tried."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One component: its name, its version, and the programs that make it up."""

    component: str
    version: str
    arch: Arch
    programs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workshop:
    """Shared by the sources of one run. `scratch` is a folder only for this component."""

    cache: Cache
    scratch: Path
    downloads: Downloads
    go: GoTools
    progress: Progress


@dataclass(frozen=True, slots=True)
class Fetched:
    """Verified files by program name, and a line with their origin."""

    files: Mapping[str, Path]
    origin: str


class Source(Protocol):
    """One way to get a component."""

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        """Raises Unavailable if another source may help, and TercetError if a person must act."""
        ...

    def stamp(self, programs: tuple[str, ...]) -> str:
        """What the result depends on besides the version, as far as this machine can tell; "" if there is nothing.

        A result with another stamp is not used again.
        """
        return ""
