"""The source `go-module`: builds the program from its Go module, with the versions in gomod/NAME/go.mod and go.sum.

go.sum verifies every module: its content must have the digest that the checksum database had when the wrapper was
resolved. The wrapper is not changed at build time (-mod=readonly).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.host.process import need, run
from tercet.image.progress import beating
from tercet.image.sources.source import Fetched, Source, Wanted, Workshop

FETCH_TIMEOUT = 1800.0  # seconds; consul and nomad have about 300 modules each
BUILD_TIMEOUT = 5400.0  # seconds; nomad takes 6 minutes on two cores
PROXY = "https://proxy.golang.org"  # where Go modules are published
CACHED = "not installed but available in build cache"


@dataclass(frozen=True, slots=True)
class GoModule(Source):
    """`module` has the version; `package` is built. `stamps` are string variables that are set to the version.

    `wrapper` is the folder with go.mod and go.sum.
    """

    wrapper: Path
    module: str
    package: str
    tags: str = ""
    stamps: tuple[str, ...] = ()
    cgo: bool = False
    unlisted: str = ""  # a module that the checksum database does not have; go.sum still pins it

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        self._check_version(wanted)
        if self.cgo:
            need("gcc", "gcc libc6-dev")
        go, version = await workshop.go.find(workshop.progress)
        folder = workshop.scratch / "module"
        shutil.copytree(self.wrapper, folder)
        await self._list(go, folder, workshop)  # this downloads, while something else may compile
        binary = workshop.scratch / wanted.programs[0]
        ldflags = "".join(f" -X {name}={wanted.version}" for name in self.stamps)
        argv = [str(go), "build", "-v", *self._flags(), f"-ldflags=-s -w{ldflags}", "-o", str(binary), self.package]
        async with workshop.go.building:
            stale = await self._list(go, folder, workshop)
            await self._build(argv, folder, stale, workshop)
        origin = f"{self.module}@v{wanted.version}, built with go{version}"
        return Fetched(dict.fromkeys(wanted.programs, binary), origin)

    def stamp(self, programs: tuple[str, ...]) -> str:
        """Changes with the pinned dependencies and with how they are built."""
        digest = hashlib.sha256(repr((self.package, self.tags, self.stamps, self.cgo)).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((self.wrapper / name).read_bytes())
        return digest.hexdigest()[:16]

    def _check_version(self, wanted: Wanted) -> None:
        pinned = pinned_version(self.wrapper / "go.mod", self.module)
        if pinned != wanted.version:
            raise TercetError(
                f"{wanted.component} {wanted.version} cannot be built from Go modules: this tercet pins {pinned}. "
                f"Set versions.{wanted.component.replace('-', '_')}: {pinned}, "
                f"or use the source official or path:/… for another version"
            )

    async def _list(self, go: Path, folder: Path, workshop: Workshop) -> int:
        """Fetch the modules that the build needs. Returns the number of packages that are not compiled yet."""
        fetched = 0

        def count(line: str) -> None:
            nonlocal fetched
            fetched += line.startswith("go: downloading ")

        argv = [str(go), "list", "-deps", "-f", "{{.StaleReason}}", *self._flags(), self.package]
        async with beating(
            lambda: workshop.progress.say(f"fetching modules, {fetched} so far" if fetched else "reading modules")
        ):
            lines = await run(
                argv, timeout=FETCH_TIMEOUT, on_line=count, cwd=folder, env=self._environment(), what="go list"
            )
        return sum(reason not in ("", CACHED) for reason in lines)

    async def _build(self, argv: list[str], folder: Path, stale: int, workshop: Workshop) -> None:
        compiled = 0

        def count(line: str) -> None:
            nonlocal compiled
            compiled += not line.startswith(("go: ", "#", " ", "\t"))

        def beat() -> None:
            if compiled < stale:
                workshop.progress.say(f"compiling, {compiled} of {stale} packages", compiled / stale)
            else:
                workshop.progress.say("linking", 1.0)

        async with beating(beat):
            await run(
                argv,
                timeout=BUILD_TIMEOUT,
                on_line=count,
                cwd=folder,
                env=self._environment(),
                what=f"go build {self.package}",
            )

    def _flags(self) -> list[str]:
        tags = ["-tags", self.tags] if self.tags else []
        return ["-mod=readonly", "-trimpath", "-buildvcs=false", *tags]

    def _environment(self) -> Mapping[str, str]:
        """The operator's environment (proxies, caches), with fixed values for everything that could change the
        result.
        """
        own = {"GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "1" if self.cgo else "0"}
        if self.unlisted:
            own["GONOSUMDB"] = ",".join(filter(None, [os.environ.get("GONOSUMDB"), self.unlisted]))
        return {**os.environ, **own}


def escaped(module: str) -> str:
    """The module's path as a module proxy expects it: an exclamation mark and a small letter for each capital."""
    return re.sub("[A-Z]", lambda found: f"!{found[0].lower()}", module)


def pinned_version(go_mod: Path, module: str) -> str:
    """The version, without its "v", at which a go.mod requires `module`."""
    found = re.search(rf"^(?:require)?\s+{re.escape(module)} v(\S+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise TercetError(f"{go_mod} does not require {module}")
    return found[1]
