"""Which promises a drill can keep or break. To add one, add a file to one of FOLDERS.

Its function is registered with the promise's name by a decorator: `journaled` (judge/case.py) where the journal tells
whether it holds, `observed` (run/live.py) where the running platform must be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from tercet.drills.discovery import discover

FOLDERS = ("tercet.drills.judge.promises", "tercet.drills.run.promises")

Function = TypeVar("Function", bound=Callable[..., Any])


class Promises(Generic[Function]):
    """The promises of one folder, by name."""

    all: ClassVar[list[Promises[Any]]] = []

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._functions: dict[str, Function] = {}
        Promises.all.append(self)

    def __call__(self, name: str) -> Callable[[Function], Function]:
        """Register the decorated function as the one that tells whether the promise of that name holds."""

        def register(function: Function) -> Function:
            if any(name in promises._functions for promises in Promises.all):
                raise ValueError(f"there are two promises of the name {name!r}")
            self._functions[name] = function
            return function

        return register

    def get(self, name: str) -> Function | None:
        discover(self._folder)
        return self._functions.get(name)

    def __iter__(self) -> Iterator[str]:
        discover(self._folder)
        return iter(self._functions)


def names() -> list[str]:
    """The names of all promises, in alphabetical order."""
    for folder in FOLDERS:
        discover(folder)
    return sorted(name for promises in Promises.all for name in promises)
