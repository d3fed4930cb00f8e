"""The source `official` for headscale: the release binary on GitHub and the release's checksums.txt.

The checksums come from the same place as the binary, over TLS; the project publishes no signature of them.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass

from tercet.image.checksums import digest_of
from tercet.image.sources.source import Fetched, Source, Wanted, Workshop


@dataclass(frozen=True, slots=True)
class HeadscaleRelease(Source):
    """github.com/juanfont/headscale."""

    base_url: str = "https://github.com/juanfont/headscale/releases/download"

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        folder = f"{self.base_url}/v{wanted.version}"
        name = f"headscale_{wanted.version}_linux_{wanted.arch}"
        listed = (await workshop.downloads.small(f"{folder}/checksums.txt")).text
        digest = digest_of(name, listed, f"{folder}/checksums.txt")
        download = await workshop.downloads.file(f"{folder}/{name}", digest, workshop.progress)
        program = workshop.scratch / wanted.programs[0]
        await asyncio.to_thread(shutil.copyfile, download, program)
        program.chmod(0o755)
        return Fetched({wanted.programs[0]: program}, f"{folder}/{name}")
