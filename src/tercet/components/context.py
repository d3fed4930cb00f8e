"""What every component is made from: the platform, its secrets, its timing and the programs of its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tercet.converge.resources import Program
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets
from tercet.inventory.timing import Timing


@dataclass(frozen=True, slots=True)
class Context:
    """`programs` is empty while the image is not built: nodes made later bring them. `secrets_from` says to people
    where the secrets' file is: USER@HOST:PATH. `proxy_reason` says why the proxy is what it is; None while it is
    undecided, since PgCat has not been tried yet."""

    platform: Platform
    secrets: Secrets
    timing: Timing
    programs: tuple[Program, ...]
    proxy: Literal["pgcat", "pgpool"]
    secrets_from: str = "a file"
    proxy_reason: str | None = ""

    def program(self, name: str) -> tuple[Program, ...]:
        """The program of that name as a resource list: one, or none while there is no image."""
        return tuple(program for program in self.programs if program.name == name)
