"""The registry of promises that a drill can keep or break. To add one, add a file to one of FOLDERS.

A decorator registers its function with the promise's name: `journaled` (judge/case.py) if the journal is enough to
judge it, or `observed` (run/live.py) if the running platform must be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from tercet.drills.discovery import discover

FOLDERS = ("tercet.drills.judge.promises", "tercet.drills.run.promises")

Promised = TypeVar("Promised")


class Promises(Generic[Promised]):
    """The promises of one folder by name, each with the function that judges it."""

    all: ClassVar[list[Promises[Any]]] = []

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._promised: dict[str, Promised] = {}
        Promises.all.append(self)

    def add(self, name: str, promised: Promised) -> None:
        """Raises ValueError if there is a promise of that name, in any folder."""
        if any(name in promises._promised for promises in Promises.all):
            raise ValueError(f"there are two promises of the name {name!r}")
        self._promised[name] = promised

    def __call__(self, name: str) -> Callable[[Promised], Promised]:
        """Add the decorated function as the promise of that name."""

        def register(promised: Promised) -> Promised:
            self.add(name, promised)
            return promised

        return register

    def get(self, name: str) -> Promised | None:
        discover(self._folder)
        return self._promised.get(name)

    def __iter__(self) -> Iterator[str]:
        discover(self._folder)
        return iter(self._promised)


def names() -> list[str]:
    """The names of all promises, in alphabetical order."""
    for folder in FOLDERS:
        discover(folder)
    return sorted(name for promises in Promises.all for name in promises)
