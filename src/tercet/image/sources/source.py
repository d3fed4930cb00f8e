"""The shape that every source has.

A source is a value: what it is told of a component (URLs, module, tags) is data in its `programs.py`. It fetches or
builds the programs of one version, verified, and says where they are.
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
    from tercet.image.download import Downloads  # brings an HTTP client, which finding an image does not need


class Unavailable(TercetError):  # noqa: N818 - a finding more than an error
    """It cannot be had here (no network, no such version there); with `auto` the next source is tried."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One component: its name, its version, and the programs that make it up."""

    component: str
    version: str
    arch: Arch
    programs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What sources share in one run. `scratch` is a folder for this component alone."""

    cache: Cache
    scratch: Path
    downloads: Downloads
    go: GoTools
    progress: Progress


@dataclass(frozen=True, slots=True)
class Fetched:
    """Verified files by program name, and a line on where they came from."""

    files: Mapping[str, Path]
    origin: str


class Source(Protocol):
    """One way to get a component."""

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        """Raises Unavailable where another source may serve, TercetError where somebody must look."""
        ...

    def stamp(self, programs: tuple[str, ...]) -> str:
        """What the outcome depends on besides the version, as far as this machine can tell; "" if nothing.

        What was had with another stamp is not used again.
        """
        return ""
