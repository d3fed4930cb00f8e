"""The result of `verify` as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tercet.converge.component import Passing
from tercet.observe.verify import Verdict
from tercet.tables import say


def render_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print one line per promise, and a last line with their number."""
    for verdict in verdicts:
        _line(verdict, console)
    failed = sum(1 for verdict in verdicts if verdict.broken)
    if failed:
        console.print(f"{failed} of {len(verdicts)} promises do not hold.", style="bold red")
    else:
        console.print(f"All {len(verdicts)} promises hold{but_for(verdicts)}.", style="bold green")


def but_for(verdicts: Sequence[Verdict]) -> str:
    """The end of a sentence that says that all promises hold: the number of known deviations, if there are any."""
    declared = sum(1 for verdict in verdicts if not verdict.holds and not verdict.broken)
    return f", but for {declared} known deviation{'s'[: declared - 1]} (!)" if declared else ""


def render_broken(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print only the promises that do not hold, and which commands to run next."""
    broken = [verdict for verdict in verdicts if verdict.broken]
    for verdict in broken:
        _line(verdict, console)
    if broken:
        console.print("Check again with `tercet verify`. `tercet plan` shows whether something must be repaired.")


def verdicts_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """The verdicts as plain data: title, holds, declared (a known deviation), detail."""
    return [
        {"title": v.title, "holds": v.holds, "declared": not v.holds and not v.broken, "detail": _detail(v)}
        for v in verdicts
    ]


def _line(verdict: Verdict, console: Console) -> None:
    mark, color = ("✓", "green") if verdict.holds else ("✗", "red") if verdict.broken else ("!", "yellow")
    text = Text().append(f"{mark} ", color).append(verdict.title)
    if detail := _detail(verdict):
        text.append(f"  {detail}", "dim" if verdict.holds else color)
    say(console, text)


def _detail(verdict: Verdict) -> str:
    return verdict.state.detail if isinstance(verdict.state, Passing) else verdict.state.reason
