"""The parts of an image as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from tercet.image.archives import ORIGIN
from tercet.image.distributions import PYPI
from tercet.image.parts import Kind, Part
from tercet.tables import Cell, table

DIGITS = 12  # of a digest, if the whole one is not wanted
UNKNOWN = Text("unknown", "yellow")
HEADS = {
    Kind.PROGRAM: "programs",
    Kind.DEBIAN: f"Debian packages, from {ORIGIN}",
    Kind.PYTHON: f"Python packages of tercet itself, from {PYPI}",
}
COUNTED = {Kind.PROGRAM: "programs", Kind.DEBIAN: "Debian packages", Kind.PYTHON: "Python packages of tercet itself"}


def render_parts(parts: Sequence[Part], console: Console, *, whole: bool = False) -> None:
    """Print a table for each kind of parts, with `whole` digests or with their first digits."""
    for kind, head in HEADS.items():
        those = [part for part in parts if part.kind is kind]
        named = ("SOURCE",) if kind is Kind.PROGRAM else ()  # the others have theirs in common
        rows: list[list[Cell]] = [
            [_name(part), part.version, _digest(part, whole), *([part.source] if named else [])] for part in those
        ]
        console.print(Text(head, "bold"))
        console.print(table(("NAME", "VERSION", "SHA256", *named), rows, console.width))


def render_later(parts: Iterable[Part], later: Mapping[tuple[Kind, str], str], console: Console) -> None:
    """Print the parts that have a known later version."""
    rows = [
        (_name(part), part.version, later[part.kind, part.name]) for part in parts if (part.kind, part.name) in later
    ]
    console.print(Text("later versions", "bold"))
    if rows:
        console.print(table(("NAME", "VERSION", "LATER"), rows, console.width))
    else:
        console.print("none known")


def counted(parts: Iterable[Part]) -> str:
    """How many parts of each kind there are: "6 programs, 209 Debian packages, …"."""
    kinds = [part.kind for part in parts]
    return ", ".join(f"{kinds.count(kind)} {name}" for kind, name in COUNTED.items())


def _name(part: Part) -> str:
    """Without a package's architecture, which is the image's."""
    return part.name.partition(":")[0]


def _digest(part: Part, whole: bool) -> Cell:
    return (part.sha256 if whole else part.sha256[:DIGITS]) or UNKNOWN
