"""A judged drill in the terminal: verdict, figures, where the time went, what applications saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tercet.drills.judge.chain import Chain
from tercet.drills.judge.checker import ANOMALIES
from tercet.drills.judge.history import Slot
from tercet.drills.judge.verdict import Judged, Repeated, Result
from tercet.drills.report.figures import LANES, predicted_costs
from tercet.drills.report.page import measured, seconds, sentence
from tercet.tables import Cell, table

BAR = 40  # characters of a chain's picture at most
LANE = 72  # characters of a lane at most
LEAST = 16  # characters of either, at least; if there is less space next to the words, words are left out
OK, SOME, BAD, SOFT = "cyan", "yellow", "red", "dim"
NAMES = {
    "writes": "writes, while the fault lasted",
    "transactions": "transactions, while the fault lasted",
    "healing": "writes, from the healing on",
    "reads": "reads",
    "back": "first write after the start",
    "refused": "until writes were refused with 25006",
    "healthy": "until all was healthy, from the healing on",
}
EIGHTHS = " ▏▎▍▌▋▊▉█"
MARKS = {OK: "━", SOME: "╌", BAD: "x", "": " "}  # can be told apart without colour


def render(repeated: Repeated, width: int) -> RenderableType:
    """The report of one or several runs, `width` characters wide. The pictures show the run nearest to the median."""
    result = repeated.typical
    inner = width - 2
    parts: list[RenderableType] = [_head(repeated), *_reasons(repeated), Text()]
    parts += [_figures(repeated, inner), Text()]
    if len(repeated.results) > 1:
        parts.append(_runs(repeated))
    if result.chains:
        worst = max(result.chains, key=lambda chain: chain.end - chain.start)
        parts += [Text(), _title(f"Where the time went at {worst.site}"), _chain(result, worst, inner)]
    parts += [Text(), _title("What applications saw"), _lanes(result, inner)]
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


def _figures(repeated: Repeated, width: int) -> Table:
    result = repeated.typical
    guess = result.predicted
    rows: list[Sequence[Cell]] = []
    for one in result.judged:
        shown = guess if one.name == result.main else None
        rows.append(
            (
                NAMES[one.name],
                Text(measured(one), style="bold" if one.kept else f"bold {BAD}"),
                f"{shown.expected:.1f} s" if shown else "",
                f"{shown.bound:.1f} s" if shown else "",
                _budget(one),
                Text(one.detail, style=SOFT),
            )
        )
    numbers = ("measured", "expected", "bound", "budget")
    return table(("seconds without", *numbers, "where"), rows, width, right=numbers)


def _budget(one: Judged) -> str:
    return f"{one.budget:g} s" if one.budget is not None else "—"


def _runs(repeated: Repeated) -> Text:
    words = ", ".join(f"{one.unavailable:.1f}" for one in repeated.results)
    return Text.assemble(
        (f"{len(repeated.results)} runs: ", "bold"),
        f"median {seconds(repeated.median)}, worst {seconds(repeated.worst)}  ",
        (f"({words})", SOFT),
    )


def _chain(result: Result, chain: Chain, width: int) -> Table:
    """A line for each link. If space is short, the expected seconds are left out first, then the nodes."""
    expected = predicted_costs(result, [link.title for link in chain.links])
    words = [
        (
            link.title,
            f"+{link.cost:.2f} s",
            link.node,
            f"expected {expected[link.title]:.2f}" if link.title in expected else "",
        )
        for link in chain.links
    ]
    columns = len(words[0])
    while True:
        taken = sum(max(cell_len(row[at]) for row in words) for at in range(columns))
        length = min(BAR, width - taken - columns)  # a space between two columns
        if length >= LEAST or columns == 2:
            break
        columns -= 1
    made = Table.grid(padding=(0, 1))
    made.add_column(justify="right")
    made.add_column(width=max(length, 1))
    for style in ("", SOFT, SOFT)[: columns - 1]:
        made.add_column(justify="right" if not style else "left", style=style)
    total = max(chain.end - chain.start, 0.001)
    for link, (title, cost, *more) in zip(chain.links, words, strict=True):
        culprit = link is chain.costliest
        style = BAD if culprit else "blue"
        made.add_row(
            Text(title, style="bold" if culprit else ""),
            bar((link.t - link.cost - chain.start) / total, link.cost / total, style, max(length, 1)),
            Text(cost, style=f"bold {style}" if culprit else ""),
            *(Text(word) for word in more[: columns - 2]),
        )
    return made


def bar(begin: float, share: float, style: str, length: int = BAR) -> Text:
    """A bar from `begin` for `share` of `length` characters, to an eighth of a character at its end."""
    start = min(length - 1, int(begin * length))
    eighths = max(1, round((begin + share) * length * 8) - start * 8)
    full, rest = divmod(min(eighths, (length - start) * 8), 8)
    return Text(" " * start + "█" * full + (EIGHTHS[rest] if rest else ""), style=style)


def _lanes(result: Result, width: int) -> Table:
    """A lane for each kind of work at each site. Below them are the times of the fault and of its healing."""
    slots = result.history.slots
    times = [slot.scheduled for of_stream in slots.values() for slot in of_stream]
    sites = [site for site in dict.fromkeys(node.site for node in result.began.nodes) if site]
    names = {site: f"{site}{' (hit)' if site in result.down else ''}" for site in sites}
    words = max(map(cell_len, names.values())) + max(cell_len(title) for _, title in LANES) + 2
    length = max(min(LANE, width - words), LEAST)
    made = Table.grid(padding=(0, 1))
    made.add_column(style="bold")
    made.add_column(justify="right", style=SOFT)
    made.add_column(width=length)
    if not times:
        return made
    start, end = min(times), max(times)
    for site in sites:
        for worker, title in LANES:
            of_stream = next((value for key, value in slots.items() if key == (site, worker)), ())
            made.add_row(names[site] if worker == "writer" else "", title, _lane(of_stream, start, end, length))
    for line in _moments(result, start, end, length):
        made.add_row("", "", line)
    return made


def _lane(slots: Sequence[Slot], start: float, end: float, length: int) -> Text:
    bins = [[0, 0] for _ in range(length)]
    for slot in slots:
        index = min(length - 1, int((slot.scheduled - start) / (end - start) * length))
        bins[index][0] += 1
        bins[index][1] += slot.succeeded is not None
    styles = ["" if not due else OK if answered == due else SOME if answered else BAD for due, answered in bins]
    text = Text()
    for style, run in groupby(styles):
        text.append(MARKS[style] * len(list(run)), style=style)
    return text


def _moments(result: Result, start: float, end: float, length: int) -> list[Text]:
    """The fault and its healing below their places in a lane; in two lines if they would overlap."""
    lines = [""]
    phases = result.phases
    for t, word in ((phases.injecting, "▲ fault"), (phases.healing, "▲ healing")):
        at = max(0, min(length - len(word), int((t - start) / (end - start) * length)))
        if len(lines[-1]) >= max(at, 1):
            lines.append("")
        lines[-1] = f"{lines[-1]:<{at}}{word}"
    return [Text(line, style=SOFT) for line in lines]


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
    for field, what in ANOMALIES.items():
        if field == "lost":
            continue
        count = sum(len(getattr(one.findings, field)) for one in repeated.results)
        if count and field in repeated.typical.deviations:
            text.append(f"\n  ! {sentence(what)}: {count}; {repeated.typical.began.deviation}", style=SOME)
        elif count:
            text.append(f"\n  ✗ {sentence(what)}: {count}", style=BAD)
    stale = max(
        (one for run in repeated.results for one in run.findings.stalest), key=lambda one: one.seconds, default=None
    )
    if stale is not None and math.isfinite(stale.seconds):
        text.append(f"\n  stalest read {stale.seconds:.2f} s, at {stale.site}", style=SOFT)
    return text
