"""The problems of an inventory, as values: the place, what was expected, what was found, and what to write."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tercet.errors import TercetError

Location = tuple[str | int, ...]
"""The path to a value: ("sites", 1, "name")."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a location. `on_key` means the key itself is wrong, not its value.

    `uses` are the other values that it depends on. If one of them is wrong itself, the finding may be only a
    consequence and is not shown.
    """

    at: Location
    expected: str
    found: str
    write: str
    on_key: bool = False
    uses: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A finding with its place in the file. Line and column count from 1."""

    line: int
    column: int
    where: str = field(compare=False)
    expected: str
    found: str
    write: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}expected {self.expected}, found {self.found}\n    write {self.write}"


class InventoryError(TercetError):
    """All problems of one inventory, by line. Each problem starts with FILE:LINE:COLUMN."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = problems
        head = f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in {path}:"
        super().__init__("\n".join((head, *(f"{path}:{p.line}:{p.column}: {p}" for p in problems))))


class NoInventoryError(InventoryError):
    """The file cannot be read. The only problem is the file as a whole."""

    def __init__(self, path: Path, found: str, write: str) -> None:
        super().__init__(path, (Problem(1, 1, "", f"an inventory at {path}", found, write),))
        self.args = (f"expected an inventory at {path}, found {found}: {write}",)


def dotted(location: Location) -> str:
    """A location as text: `sites[1].name`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def quoted(value: object, limit: int = 60) -> str:
    """A value as an error message shows it: one line of at most `limit` characters, with control characters escaped."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return "true" if value else "false"
        case str():
            text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value[: limit + 1])
            return f'"{text}"' if len(text) <= limit else f'"{text[:limit]}…"'
        case _:
            return str(value)[:limit]
