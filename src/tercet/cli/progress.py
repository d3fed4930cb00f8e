"""Three views of the same events: live on a terminal, appended lines in logs, and JSON lines for programs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tercet.converge.events import Emit, Event

QUIET = 10.0  # seconds between two lines of a phase that only repeats itself, if lines are appended
NAME = 16
SECONDS = 8
BAR = 20
BAR_FROM = 100  # columns; in a narrower terminal, only the percentage is shown, to leave room for words
ENDED = {"done": ("✓", "green"), "failed": ("✗", "red")}


@contextmanager
def progress(console: Console, *, as_json: bool = False, verbose: bool = False) -> Iterator[Emit]:
    """A view that fits the console, for the duration of a procedure. It yields the function that takes events."""
    if as_json:
        yield JsonLines(console)
    elif not console.is_terminal:
        yield Lines(console, verbose=verbose)
    else:
        running = Running()
        with Live(
            console=console, get_renderable=lambda: running.table(console.width), refresh_per_second=8, transient=True
        ) as live:

            def show(event: Event) -> None:
                running.take(event)
                if verbose or event.state in ENDED:
                    live.refresh()  # otherwise a phase that ended would be drawn again below its last line
                    live.console.print(line(event), soft_wrap=True)

            yield show


class JsonLines:
    """Each event as one line of JSON, written at once."""

    def __init__(self, console: Console) -> None:
        self._file = console.file

    def __call__(self, event: Event) -> None:
        self._file.write(json.dumps(dataclasses.asdict(event), ensure_ascii=False) + "\n")
        self._file.flush()


class Lines:
    """Prints each event that says something new as one line, for logs.

    If the text of a progress event only repeats, or differs only in numbers, it is shown every QUIET seconds.
    """

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console = console
        self._verbose = verbose
        self._last: dict[str, tuple[str, float]] = {}

    def __call__(self, event: Event) -> None:
        gist = f"{event.node} {''.join(c for c in event.text if not c.isdigit())}"
        last, when = self._last.get(event.phase, ("", -QUIET))
        repeats = event.state == "progress" and gist == last and event.seconds < when + QUIET
        if repeats and not self._verbose:
            return
        self._last[event.phase] = (gist, event.seconds)
        self._console.print(line(event), soft_wrap=True)
        self._console.file.flush()


@dataclass(slots=True)
class _Phase:
    latest: Event
    began: float


class Running:
    """The running phases as a table that the terminal redraws. Phases that ended are printed above it permanently."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phases: dict[str, _Phase] = {}
        self._spinner = Spinner("dots")

    def take(self, event: Event) -> None:
        """Store what the event's phase is doing now, or that it ended."""
        if event.state in ENDED:
            self._phases.pop(event.phase, None)
        else:
            self._phases[event.phase] = _Phase(event, self._clock() - event.seconds)

    def table(self, width: int) -> RenderableType:
        """One line for each running phase: its time, its progress, and as many words of its text as fit."""
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(min_width=NAME, no_wrap=True)
        table.add_column(justify="right", min_width=SECONDS, no_wrap=True)
        table.add_column(no_wrap=True)
        phases = tuple(self._phases.items())
        room = width - 1 - max([NAME, *(cell_len(name) for name, _ in phases)]) - SECONDS - 3
        for name, phase in phases:
            event = phase.latest
            what: RenderableType = Text(_beginning(said(event), room))
            if event.fraction is not None:
                row = Table.grid(padding=(0, 1))
                done = f"{event.fraction:4.0%}"
                left = room - len(done) - 1
                bar = (ProgressBar(total=1.0, completed=event.fraction, width=BAR),) if width >= BAR_FROM else ()
                row.add_row(*bar, done, Text(_beginning(said(event), left - (BAR + 1) * len(bar))))
                what = row
            table.add_row(self._spinner, name, f"{max(0.0, self._clock() - phase.began):.1f} s", what)
        return table


def _beginning(text: str, room: int) -> str:
    """As many whole words of the text as fit into the given number of characters."""
    words = text.split()
    while words and cell_len(" ".join(words)) > room:
        words.pop()
    return " ".join(words)


def line(event: Event) -> Text:
    """An event as one line: a mark, the phase, the seconds since the phase began, and the text."""
    mark, color = ENDED.get(event.state, ("·", "dim"))
    text = Text()
    text.append(f"{mark} ", color)
    text.append(f"{event.phase:<{NAME}} {event.seconds:6.1f} s  ")
    text.append(said(event), "red" if event.state == "failed" else "")
    if event.fraction is not None and event.state == "progress":
        text.append(f" ({event.fraction:.0%})", "dim")
    return text


def said(event: Event) -> str:
    """The event's text after the name of its node. The name is left out if the phase already contains it."""
    text = event.text.removeprefix(f"{event.phase.rpartition('/')[2]}: ")
    return f"{event.node}: {text}" if event.node else text
