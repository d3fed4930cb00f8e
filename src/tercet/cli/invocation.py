"""What every command is called with: the global options, and how to answer."""

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
"""The variable by which the script of `tercet completion SHELL` asks what a word could become."""


@dataclass(frozen=True)
class Invocation:
    """The global options of one call, and how to answer it. `rest` is what followed `--`, untouched."""

    file: Path = Path("tercet.yml")
    provider: str = ""  # in place of the inventory's, if one was given
    json: bool = False
    color: bool = True
    verbose: bool = False
    rest: tuple[str, ...] = ()

    def platform(self) -> Platform:
        """The platform of the inventory. Raises InventoryError with everything that is wrong in it."""
        from tercet.inventory.load import load  # noqa: PLC0415

        return load(self.file, provider=self.provider)

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
