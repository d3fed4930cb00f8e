"""The source `official` for HashiCorp: the release zip, its SHA256SUMS, and their signature.

The key is HashiCorp's "security" key, published at https://www.hashicorp.com/trust/security. The copy in keys/ is from
HashiCorp's own installer (Go module hc-install 0.10.0), and has the published fingerprint.
"""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.image.checksums import digest_of
from tercet.image.openpgp import Key, check_signature
from tercet.image.sources.source import Fetched, Source, Wanted, Workshop

KEY = Key(Path(__file__).parent.parent / "keys" / "hashicorp.asc", "C874011F0AB405110D02105534365D9472D7468F")


@dataclass(frozen=True, slots=True)
class HashiCorp(Source):
    """A product of releases.hashicorp.com."""

    product: str
    base_url: str = "https://releases.hashicorp.com"
    key: Key = KEY

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        folder = f"{self.base_url}/{self.product}/{wanted.version}"
        sums_name = f"{self.product}_{wanted.version}_SHA256SUMS"
        archive_name = f"{self.product}_{wanted.version}_linux_{wanted.arch}.zip"
        sums = (await workshop.downloads.small(f"{folder}/{sums_name}")).content
        signature = (await workshop.downloads.small(f"{folder}/{sums_name}.sig")).content
        await check_signature(sums, signature, self.key, f"{folder}/{sums_name}")
        digest = digest_of(archive_name, sums.decode(), f"{folder}/{sums_name}")
        archive = await workshop.downloads.file(f"{folder}/{archive_name}", digest, workshop.progress)
        files = {name: await asyncio.to_thread(unzip, archive, name, workshop.scratch) for name in wanted.programs}
        return Fetched(files, f"{folder}/{archive_name}, signed by {self.key.fingerprint}")


def unzip(archive: Path, name: str, folder: Path) -> Path:
    """Extract one program from the archive into `folder`."""
    target = folder / name
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(name) as stream, target.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise TercetError(f"{archive} should hold the program {name}, but: {error}") from error
    target.chmod(0o755)
    return target
