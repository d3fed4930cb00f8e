"""What a command is, and what it is called with."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tercet.errors import TercetError

if TYPE_CHECKING:
    from rich.console import Console

    from tercet.inventory.platform import Platform


class UsageError(TercetError):
    """The command line itself is wrong."""


class Section(Enum):
    """Where a command stands in `tercet --help`; in this order."""

    INVENTORY = "The inventory"
    PLATFORM = "The platform"
    LOOK = "See and reach it"
    PROOF = "Prove and repair it"


@dataclass(frozen=True)
class Invocation:
    """The global options of one call, and how to answer it. `rest` is what followed `--`, untouched."""

    file: Path
    lab: bool = False
    json: bool = False
    color: bool = True
    verbose: bool = False
    rest: tuple[str, ...] = ()

    def platform(self) -> Platform:
        """The platform of the inventory. Raises InventoryError with everything that is wrong in it."""
        from tercet.inventory.load import load  # noqa: PLC0415

        return load(self.file, lab=self.lab)

    @cached_property
    def console(self) -> Console:
        """Standard output, with colours where it is a terminal that wants them."""
        return self._console(stderr=False)

    @cached_property
    def errors(self) -> Console:
        """Standard error, for what is not the command's result."""
        return self._console(stderr=True)

    def print_json(self, value: object) -> None:
        """The command's result as one JSON document on standard output."""
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")

    def print(self, text: str) -> None:
        """One line of plain text on standard output."""
        sys.stdout.write(f"{text}\n")

    def _console(self, *, stderr: bool) -> Console:
        from rich.console import Console  # noqa: PLC0415

        return Console(stderr=stderr, highlight=False, no_color=True if not self.color else None)


Arguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace, Invocation], int]


def no_arguments(_parser: argparse.ArgumentParser) -> None:
    """For a command that takes none."""


@dataclass(frozen=True)
class Command:
    """One command. It either runs, or has `commands` of its own, as `tercet drill run` does.

    `order` is its place within the section. `run` returns the exit status. `rest` names what is taken after
    `--`, if anything ("CMD…"); it is then required unless `rest_optional`. `interrupted` says how things stand
    after Ctrl-C.
    """

    name: str
    summary: str
    section: Section
    order: int = 50
    run: Run | None = None
    arguments: Arguments = no_arguments
    examples: tuple[tuple[str, str], ...] = ()  # (command line, what it does)
    commands: tuple[Command, ...] = ()
    rest: str = ""
    rest_optional: bool = False
    interrupted: str = ""
