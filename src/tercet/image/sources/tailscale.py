"""`official` of Tailscale: the static archive and the .sha256 beside it.

The checksum comes from the same host as the archive, over TLS: it finds a damaged file, not a forged one.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.image.checksums import digest_of
from tercet.image.sources.source import Fetched, Source, Wanted, Workshop


@dataclass(frozen=True, slots=True)
class TailscaleArchive(Source):
    """pkgs.tailscale.com/stable."""

    base_url: str = "https://pkgs.tailscale.com/stable"

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        name = f"tailscale_{wanted.version}_{wanted.arch}.tgz"
        url = f"{self.base_url}/{name}"
        listed = (await workshop.downloads.small(f"{url}.sha256")).text
        archive = await workshop.downloads.file(url, digest_of(name, listed, f"{url}.sha256"), workshop.progress)
        files = await asyncio.to_thread(untar, archive, wanted.programs, workshop.scratch)
        return Fetched(files, url)


def untar(archive: Path, programs: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Take the programs out of the archive, in whatever folder of it they are."""
    found: dict[str, Path] = {}
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = Path(member.name).name
                if name not in programs or not member.isfile():
                    continue
                stream = opened.extractfile(member)
                if stream is not None:
                    found[name] = folder / name
                    with found[name].open("wb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)
                    found[name].chmod(0o755)
    except tarfile.TarError as error:
        raise TercetError(f"{archive} should be a tar archive, but: {error}") from error
    if missing := [name for name in programs if name not in found]:
        raise TercetError(f"{archive} should hold {' and '.join(programs)}, but has no {' and '.join(missing)}")
    return found
