"""A judged drill in the terminal: verdict, figures, where the time went, what applications saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tercet.drills.chain import Chain
from tercet.drills.history import Slot
from tercet.drills.report.figures import LANES, predicted_costs
from tercet.drills.report.page import CHECKS, measured, seconds
from tercet.drills.verdict import Judged, Repeated, Result

BAR = 40  # characters of a chain's picture
LANE = 72  # characters of a lane
OK, SOME, BAD, SOFT = "cyan", "yellow", "red", "dim"
NAMES = {
    "writes": "writes, while the fault lasted",
    "transactions": "transactions, while the fault lasted",
    "healing": "writes, from the healing on",
    "reads": "reads",
    "back": "first write after the start",
    "refused": "until writes were refused with 25006",
}
EIGHTHS = " ▏▎▍▌▋▊▉█"
MARKS = {OK: "━", SOME: "╌", BAD: "x", "": " "}  # told apart without colour too


def render(repeated: Repeated) -> RenderableType:
    """Everything worth showing of one run, or of several: the pictures are of the run nearest to the median."""
    result = repeated.typical
    parts: list[RenderableType] = [_head(repeated), *_reasons(repeated), Text()]
    parts.append(_figures(repeated))
    if len(repeated.results) > 1:
        parts.append(_runs(repeated))
    if result.chains:
        worst = max(result.chains, key=lambda chain: chain.end - chain.start)
        parts += [Text(), _title(f"Where the time went at {worst.site}"), _chain(result, worst)]
    parts += [Text(), _title("What applications saw"), _lanes(result)]
    if result.promises:
        parts += [Text(), _title("Promises"), *_promises(result)]
    parts += [Text(), _ledger(repeated)]
    return Padding(Group(*parts), (0, 1))


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _head(repeated: Repeated) -> Text:
    result = repeated.typical
    passed = Text(" PASSED ", style=f"bold white on {OK}") if repeated.passed else Text(" FAILED ", "bold white on red")
    return Text.assemble(passed, "  ", (result.began.scenario, "bold"), f"  {result.began.title}")


def _reasons(repeated: Repeated) -> Iterable[Text]:
    many = len(repeated.results) > 1
    for number, one in enumerate(repeated.results, 1):
        for reason in one.reasons:
            yield Text(f"  ✗ {f'run {number}: ' if many else ''}{reason}", style=BAD)


def _figures(repeated: Repeated) -> Table:
    result = repeated.typical
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style=SOFT)
    table.add_column("seconds without", no_wrap=True)
    for name in ("measured", "expected", "bound", "budget"):
        table.add_column(name, justify="right")
    table.add_column("")
    guess = result.predicted
    for one in result.judged:
        shown = guess if one.name == result.main else None
        table.add_row(
            NAMES[one.name],
            Text(measured(one), style="bold" if one.kept else f"bold {BAD}"),
            f"{shown.expected:.1f} s" if shown else "",
            f"{shown.bound:.1f} s" if shown else "",
            _budget(one),
            Text(one.detail, style=SOFT),
        )
    return table


def _budget(one: Judged) -> str:
    return f"{one.budget:g} s" if one.budget is not None else "—"


def _runs(repeated: Repeated) -> Text:
    words = ", ".join(f"{one.unavailable:.1f}" for one in repeated.results)
    return Text.assemble(
        (f"{len(repeated.results)} runs: ", "bold"),
        f"median {seconds(repeated.median)}, worst {seconds(repeated.worst)}  ",
        (f"({words})", SOFT),
    )


def _chain(result: Result, chain: Chain) -> Table:
    total = max(chain.end - chain.start, 0.001)
    expected = predicted_costs(result, [link.title for link in chain.links])
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=BAR)
    table.add_column(justify="right")
    table.add_column(justify="right", style=SOFT)
    table.add_column(style=SOFT)
    for link in chain.links:
        culprit = link is chain.costliest
        style = BAD if culprit else "blue"
        begin = (link.t - link.cost - chain.start) / total
        guess = f"expected {expected[link.title]:.2f}" if link.title in expected else ""
        table.add_row(
            Text(link.title, style="bold" if culprit else ""),
            bar(begin, link.cost / total, style),
            Text(f"+{link.cost:.2f} s", style=f"bold {style}" if culprit else ""),
            guess,
            link.node,
        )
    return table


def bar(begin: float, share: float, style: str) -> Text:
    """A bar from `begin` for `share` of BAR characters, to an eighth of a character at its end."""
    start = min(BAR - 1, int(begin * BAR))
    eighths = max(1, round((begin + share) * BAR * 8) - start * 8)
    full, rest = divmod(min(eighths, (BAR - start) * 8), 8)
    return Text(" " * start + "█" * full + (EIGHTHS[rest] if rest else ""), style=style)


def _lanes(result: Result) -> Table:
    slots = result.history.slots
    times = [slot.scheduled for of_stream in slots.values() for slot in of_stream]
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(justify="right", style=SOFT)
    table.add_column(width=LANE)
    if not times:
        return table
    start, end = min(times), max(times)
    for site in [site for site in dict.fromkeys(node.site for node in result.began.nodes) if site]:
        for worker, title in LANES:
            of_stream = next((value for key, value in slots.items() if key == (site, worker)), ())
            name = f"{site}{' (hit)' if site in result.down else ''}" if worker == "writer" else ""
            table.add_row(name, title, _lane(of_stream, start, end))
    table.add_row("", "", _moments(result, start, end))
    return table


def _lane(slots: Sequence[Slot], start: float, end: float) -> Text:
    bins = [[0, 0] for _ in range(LANE)]
    for slot in slots:
        index = min(LANE - 1, int((slot.scheduled - start) / (end - start) * LANE))
        bins[index][0] += 1
        bins[index][1] += slot.succeeded is not None
    styles = ["" if not due else OK if answered == due else SOME if answered else BAD for due, answered in bins]
    text = Text()
    for style, run in groupby(styles):
        text.append(MARKS[style] * len(list(run)), style=style)
    return text


def _moments(result: Result, start: float, end: float) -> Text:
    line = [" "] * LANE
    phases = result.phases
    for t, word in ((phases.injecting, "▲ fault"), (phases.healing, "▲ healing")):
        at = min(LANE - len(word), int((t - start) / (end - start) * LANE))
        line[at : at + len(word)] = word
    return Text("".join(line), style=SOFT)


def _promises(result: Result) -> Iterable[Text]:
    for promise in result.promises:
        mark, style = ("✓", OK) if promise.held else ("✗", BAD)
        yield Text.assemble((f"  {mark} ", style), promise.name, (f"  {promise.detail}", SOFT))


def _ledger(repeated: Repeated) -> Text:
    lost = sum(len(one.findings.lost) for one in repeated.results)
    acknowledged = sum(one.findings.acknowledged for one in repeated.results)
    recovered = sum(len(one.findings.recovered) for one in repeated.results)
    text = Text.assemble(
        ("Ledger  ", "bold"),
        f"{acknowledged:,} writes acknowledged, ",
        (f"{lost} lost", f"bold {BAD if lost else OK}"),
        (f", {recovered} of unknown outcome present", SOFT),
    )
    for field, title in CHECKS[1:]:
        count = sum(len(getattr(one.findings, field)) for one in repeated.results)
        if count and field in repeated.typical.deviations:
            text.append(f"\n  ! {title}: {count}; {repeated.typical.began.deviation}", style=SOME)
        elif count:
            text.append(f"\n  ✗ {title}: {count}", style=BAD)
    stale = max(
        (one for run in repeated.results for one in run.findings.stalest), key=lambda one: one.seconds, default=None
    )
    if stale is not None and math.isfinite(stale.seconds):
        text.append(f"\n  stalest read {stale.seconds:.2f} s, at {stale.site}", style=SOFT)
    return text
