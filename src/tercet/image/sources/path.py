"""The source `path:`: the operator's own binary, or a folder with the component's binaries under their names."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.image.elf import check_program
from tercet.image.sources.source import Fetched, Source, Wanted, Workshop

PREFIX = "path:"


@dataclass(frozen=True, slots=True)
class LocalPath(Source):
    """A file or a folder on this machine."""

    path: Path

    @classmethod
    def of(cls, requested: str) -> LocalPath | None:
        """The source for the inventory's value `path:…`; None for another value."""
        return cls(Path(requested.removeprefix(PREFIX))) if requested.startswith(PREFIX) else None

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        """The files themselves. The cache makes copies, so the files may be removed afterwards."""
        files = self.programs(wanted.programs)
        for file in files.values():
            await asyncio.to_thread(check_program, file, wanted.arch)
        copies: dict[str, Path] = {}
        for name, file in files.items():
            copies[name] = workshop.scratch / name
            await asyncio.to_thread(_copy, file, copies[name])
        return Fetched(copies, f"{PREFIX}{self.path}")

    def programs(self, names: tuple[str, ...]) -> dict[str, Path]:
        """The file of each program. A single file is enough only for a component with one program."""
        if not self.path.is_absolute():
            raise TercetError(f"path:{self.path} is relative; write the absolute path")
        if self.path.is_dir():
            files = {name: self.path / name for name in names}
            if missing := [name for name, file in files.items() if not file.is_file()]:
                raise TercetError(
                    f"{self.path} should hold {_and(names)}, but has no {_and(missing)}; "
                    "put the binaries there under these names"
                )
            return files
        if not self.path.is_file():
            raise TercetError(f"{self.path} should be a binary or a folder of binaries; there is nothing there")
        if len(names) > 1:
            raise TercetError(f"{self.path} is one file, but {_and(names)} are needed; give the folder that holds them")
        return {names[0]: self.path}

    def stamp(self, names: tuple[str, ...]) -> str:
        """Changes when a file is replaced. Empty if a file is gone, because the cache has a copy."""
        try:
            states = [file.stat() for file in self.programs(names).values()]
        except (OSError, TercetError):
            return ""
        return ",".join(f"{state.st_size}:{state.st_mtime_ns}" for state in states)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(names)
