"""A systemd small enough to reason about, for tests: what a unit was really started with is written down.

A unit file names what its program reads: `Reads=PATH` at the start, `Follows=PATH` at the start and at each
reload. As the real one, it goes by the unit file as it was at the last daemon-reload.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Service:
    """One unit: its state, and `runs_with`, the content of every path when the program read it."""

    active: str = "inactive"
    sub: str = "dead"
    file_state: str = "disabled"
    loaded: str | None = None
    invocation: str = ""
    runs_with: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    reloads: int = 0


class Systemd:
    """`root` is where the node's file system is; `effect` is called before anything is changed."""

    def __init__(self, root: Path, effect: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self.effect = effect
        self.units: dict[str, Service] = {}
        self._numbers = itertools.count(1)

    def service(self, name: str) -> Service:
        unit = self.units.setdefault(name, Service())
        if unit.loaded is None:
            unit.loaded = self._file(name)
        return unit

    def _file(self, name: str) -> str | None:
        path = self.root / "etc/systemd/system" / name
        return path.read_text() if path.is_file() else None

    def call(self, words: list[str]) -> tuple[int, str]:
        """What `systemctl WORDS` does: its exit status and what it prints."""
        verb, *names = [word for word in words if not word.startswith("--")]
        if any(word.startswith("--property=") for word in words):
            return 0, self._show(names[0])
        if verb == "show":
            return 0, "\n".join(self._show(name) for name in names[1:])
        self.effect()
        if verb == "daemon-reload":
            for name, unit in self.units.items():
                unit.loaded = self._file(name)
            return 0, ""
        for name in names:
            status, text = getattr(self, verb.replace("-", "_"))(name)
            if status:
                return status, text
        return 0, ""

    def _show(self, name: str) -> str:
        unit = self.service(name)
        load = "masked" if unit.file_state == "masked" else "loaded" if unit.loaded is not None else "not-found"
        values = {
            "LoadState": load,
            "ActiveState": unit.active,
            "SubState": unit.sub,
            "UnitFileState": unit.file_state if load != "not-found" else "",
            "NeedDaemonReload": "yes" if unit.loaded is not None and unit.loaded != self._file(name) else "no",
            "InvocationID": unit.invocation,
            "Result": "success" if unit.active != "failed" else "exit-code",
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def start(self, name: str) -> tuple[int, str]:
        unit = self.service(name)
        if unit.active == "active":
            return 0, ""
        if unit.loaded is None:
            return 5, f"Unit {name} not found."
        if unit.file_state == "masked":
            return 1, f"Unit {name} is masked."
        unit.invocation = f"{next(self._numbers):032x}"
        unit.starts += 1
        if "Fails" in unit.loaded:
            unit.active, unit.sub = "failed", "failed"
            return 1, f"Job for {name} failed."
        unit.active, unit.sub = "active", "running"
        unit.runs_with = {
            "its unit file": unit.loaded,
            **self._read(unit.loaded, "Reads="),
            **self._read(unit.loaded, "Follows="),
        }
        return 0, ""

    def _read(self, definition: str, key: str) -> dict[str, str]:
        paths = [line.removeprefix(key) for line in definition.splitlines() if line.startswith(key)]
        return {path: content(Path(path)) for path in paths}

    def stop(self, name: str) -> tuple[int, str]:
        unit = self.service(name)
        unit.active, unit.sub = "inactive", "dead"
        return 0, ""

    def restart(self, name: str) -> tuple[int, str]:
        self.stop(name)
        return self.start(name)

    def reload(self, name: str) -> tuple[int, str]:
        unit = self.service(name)
        unit.reloads += 1
        unit.runs_with |= self._read(unit.loaded or "", "Follows=")
        return 0, ""

    def enable(self, name: str) -> tuple[int, str]:
        if self._file(name) is None:
            return 1, f"Unit file {name} does not exist."
        self.service(name).file_state = "enabled"
        return 0, ""

    def disable(self, name: str) -> tuple[int, str]:
        self.service(name).file_state = "disabled"
        return 0, ""

    def unmask(self, name: str) -> tuple[int, str]:
        self.service(name).file_state = "disabled"
        return 0, ""

    def reset_failed(self, name: str) -> tuple[int, str]:
        self.service(name).active = "inactive"
        return 0, ""

    def boot(self) -> None:
        """All processes are gone, and what is enabled is started from what is on disk."""
        for name, unit in self.units.items():
            unit.active, unit.sub, unit.loaded = "inactive", "dead", self._file(name)
            if unit.file_state == "enabled":
                self.start(name)


def content(path: Path) -> str:
    """What a program finds at a path."""
    if path.is_dir():
        return "\n".join(f"{entry.name}: {content(entry)}" for entry in sorted(path.iterdir()))
    return path.read_text() if path.exists() else "absent"
