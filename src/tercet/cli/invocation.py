"""What every command gets: the global options, and functions for its output."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from tercet.inventory.platform import Platform

COMPLETE = "_TERCET_COMPLETE"
"""The environment variable with which the script of `tercet completion SHELL` asks for completions."""


@dataclass(frozen=True)
class Invocation:
    """The global options of one call, and functions for its output. `rest` has the arguments after `--`, unchanged."""

    file: Path = Path("tercet.yml")
    provider: str = ""  # in place of the inventory's, if one was given
    json: bool = False
    color: bool = True
    verbose: bool = False
    rest: tuple[str, ...] = ()

    def platform(self) -> Platform:
        """The platform of the inventory. Raises InventoryError with every problem of the file."""
        from tercet.inventory.load import load  # noqa: PLC0415

        return load(self.file, provider=self.provider)

    @cached_property
    def console(self) -> Console:
        """Standard output, with colours if it is a terminal that supports them."""
        return self._console(stderr=False)

    @cached_property
    def errors(self) -> Console:
        """Standard error, for everything but the command's result."""
        return self._console(stderr=True)

    def print_json(self, value: object) -> None:
        """Print the command's result as one JSON document to standard output."""
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")

    def print(self, text: str) -> None:
        """Print one line of plain text to standard output."""
        sys.stdout.write(f"{text}\n")

    def _console(self, *, stderr: bool) -> Console:
        from rich.console import Console  # noqa: PLC0415

        return Console(stderr=stderr, highlight=False, no_color=True if not self.color else None)
