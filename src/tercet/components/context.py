"""The data from which every component is made: the platform, its secrets, its timing and the programs of its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tercet.converge.resources import Program
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets
from tercet.inventory.timing import Timing


@dataclass(frozen=True, slots=True)
class Context:
    """`programs` is empty if the image is not built: nodes that are made later have them. `secrets_from` is the place
    of the secrets' file, for people: USER@HOST:PATH. `proxy_reason` says why the proxy was chosen; None while this is
    undecided, because PgCat has not been tried yet.
    """

    platform: Platform
    secrets: Secrets
    timing: Timing
    programs: tuple[Program, ...]
    proxy: Literal["pgcat", "pgpool"]
    secrets_from: str = "a file"
    proxy_reason: str | None = ""

    def program(self, name: str) -> tuple[Program, ...]:
        """The program of that name as a list of resources: empty if there is no image."""
        return tuple(program for program in self.programs if program.name == name)
