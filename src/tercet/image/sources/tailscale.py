"""The source `official` for Tailscale: the static archive, its signature, and the .sha256 next to it.

The signature proves the origin (see distsign.py). The checksum, from the same host, allows a download to be continued.
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

ROOTS = Path(__file__).parent.parent / "keys" / "tailscale.pem"


@dataclass(frozen=True, slots=True)
class TailscaleArchive(Source):
    """pkgs.tailscale.com/stable. `roots` has the root keys of all signatures."""

    base_url: str = "https://pkgs.tailscale.com"
    roots: Path = ROOTS

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        from tercet.image.distsign import check_file, signing_keys  # noqa: PLC0415 - cryptography takes long to import

        name = f"tailscale_{wanted.version}_{wanted.arch}.tgz"
        url, keys_url = f"{self.base_url}/stable/{name}", f"{self.base_url}/distsign.pub"
        bundle = (await workshop.downloads.small(keys_url)).content
        signature = (await workshop.downloads.small(f"{keys_url}.sig")).content
        keys = signing_keys(bundle, signature, self.roots.read_bytes(), keys_url)
        signature = (await workshop.downloads.small(f"{url}.sig")).content
        listed = (await workshop.downloads.small(f"{url}.sha256")).text
        archive = await workshop.downloads.file(url, digest_of(name, listed, f"{url}.sha256"), workshop.progress)
        try:
            await asyncio.to_thread(check_file, archive, signature, keys, url)
        except TercetError:
            archive.rename(archive.with_name(f"{archive.name}.bad"))
            raise
        files = await asyncio.to_thread(untar, archive, wanted.programs, workshop.scratch)
        return Fetched(files, f"{url}, signed by Tailscale")


def untar(archive: Path, programs: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Extract the programs from the archive, from any folder in it."""
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
