"""Tables and lines that stay readable at any width: they wrap between words, and no word is ever cut.

If not even the longest words of a row fit next to each other, each row becomes a block with one line per column. If the
width is unknown, as in a pipe, rich assumes 80 columns. `size` and `day` format values for their cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

UNITS = ("B", "kB", "MB", "GB", "TB")
GAP = 2  # characters between two columns
Cell = str | Text


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], width: int, *, right: Sequence[str] = ()) -> Table:
    """A table of at most `width` characters. The columns named in `right` hold numbers.

    Text cells keep their style. Markup in other cells is not interpreted.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    columns = [[Text(head), *(row[at] for row in cells)] for at, head in enumerate(heads)]
    least = [max(map(_longest_word, column)) for column in columns]
    widths = [max(map(_longest_line, column)) for column in columns]
    room = width - GAP * (len(heads) - 1)
    if sum(least) > room:
        return _blocks(heads, cells)
    while sum(widths) > room:  # shrink the widest column that can wrap
        _, at = max((held, at) for at, held in enumerate(widths) if held > least[at])
        widths[at] -= 1
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for head, held in zip(heads, widths, strict=True):
        justify: JustifyMethod = "right" if head in right else "left"
        made.add_column(head, width=held, justify=justify, overflow="fold")
    for row in cells:
        made.add_row(*row)
    return made


def say(console: Console, text: Text, hang: int = 2) -> None:
    """Print one line of any length. In a terminal it wraps between words; wrapped lines are indented by `hang`."""
    if not console.is_terminal:
        console.print(text, soft_wrap=True)
        return
    for number, line in enumerate(text.wrap(console, max(console.width - hang, 1))):
        console.print(Text(" " * hang if number else "").append_text(line), soft_wrap=True)


def day(iso: str) -> str:
    """An ISO 8601 time in UTC as date and minute."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def size(count: int) -> str:
    """A number of bytes with a decimal unit: 31.8 MB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} B"


def _blocks(heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    """Each row as lines of a head and a value. Empty cells are left out, and an empty line separates rows."""
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for number, row in enumerate(rows):
        if number:
            made.add_row("", "")
        for head, cell in zip(heads, row, strict=True):
            if cell.plain:
                made.add_row(head, cell)
    return made


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _longest_line(text: Text) -> int:
    return max(map(cell_len, chain(text.plain.splitlines(), [""])))
