"""One drill, or its repeated runs, as one HTML file without scripts or external resources."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tercet.drills.judge.checker import ANOMALIES, NOTED
from tercet.drills.judge.verdict import Judged, Repeated, Result
from tercet.drills.report import figures
from tercet.drills.report.markup import Child, Markup, tag
from tercet.drills.report.style import STYLE


def sentence(what: str) -> str:
    """The words with a capital letter, for the beginning of a line."""
    return what[0].upper() + what[1:]


def page(repeated: Repeated) -> str:
    """The whole text of the file. The pictures show the run nearest to the median."""
    result = repeated.typical
    title = f"{result.began.scenario} — {result.began.platform}"
    body = tag(
        "main",
        _head(repeated),
        _reasons(repeated),
        _tiles(repeated),
        _runs(repeated),
        _chain(result),
        _seen(result),
        _stale(result),
        _promises(result),
        _checks(result),
        _errors(result),
        _records(result),
        _foot(result),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def _head(repeated: Repeated) -> Markup:
    result = repeated.typical
    verdict = "passed" if repeated.passed else "failed"
    return tag(
        "header",
        tag(
            "div",
            tag("h1", result.began.title),
            tag("p", result.began.promise, class_="soft"),
        ),
        tag("span", verdict.capitalize(), class_=f"verdict {verdict}"),
    )


def _reasons(repeated: Repeated) -> Markup | None:
    many = len(repeated.results) > 1
    items = [
        tag("li", f"run {number}: {reason}" if many else reason)
        for number, one in enumerate(repeated.results, 1)
        for reason in one.reasons
    ]
    return tag("ul", *items, class_="reasons") if items else None


def seconds(value: float) -> str:
    """Seconds as text."""
    return f"{value:.1f} s" if math.isfinite(value) else "never"


def measured(one: Judged) -> str:
    """The seconds of a figure as text."""
    return "—" if one.absent else seconds(one.measured)


MAIN = {
    "writes": "without writes",
    "back": "first write after the start",
    "refused": "until writes were refused with 25006",
}


def _tiles(repeated: Repeated) -> Markup:
    result = repeated.typical
    many = len(repeated.results) > 1
    by_name = {one.name: one for one in result.judged}
    main = by_name[result.main]
    said = MAIN[main.name]
    lost = sum(len(one.findings.lost) for one in repeated.results)
    if many:
        said = f"{said}, median of {len(repeated.results)}; worst {seconds(repeated.worst)}"
    tiles = [_tile(seconds(repeated.median if many else main.measured), said, not main.kept)]
    if result.predicted:
        guess = result.predicted
        tiles.append(_tile(seconds(guess.expected), f"expected; bound {guess.bound:.1f} s"))
    if main.budget is not None:
        tiles.append(_tile(f"{main.budget:g} s", "budget"))
    tiles.append(_tile(str(lost), "acknowledged writes lost", lost > 0))
    tiles.append(_tile(measured(by_name["reads"]), "without reads", not by_name["reads"].kept))
    tiles.append(_tile(f"{result.findings.acknowledged:,}", "writes acknowledged"))
    return tag("div", *tiles, class_="tiles")


def _tile(value: str, text: str, bad: bool = False) -> Markup:
    return tag("div", tag("b", value), tag("span", text), class_="tile bad" if bad else "tile")


def _section(title: str, text: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), tag("p", text, class_="soft") if text else None, *children)


def _runs(repeated: Repeated) -> Markup | None:
    picture = figures.runs(repeated)
    return _section("All runs", f"Seconds {MAIN[repeated.typical.main]}, each run.", picture) if picture else None


def _chain(result: Result) -> Markup | None:
    if not result.chains:
        return None
    worst = max(result.chains, key=lambda chain: chain.end - chain.start)
    link = worst.costliest
    text = (
        f"From the last acknowledged write to the next one: {worst.end - worst.start:.2f} s at {worst.site}. "
        f"The most expensive link: {link.title}, {link.cost:.2f} s."
    )
    rows = [
        tag(
            "tr",
            tag("td", title),
            tag("td", f"{expected:.2f}", class_="n"),
            tag("td", f"{bound:.2f}", class_="n"),
            tag("td", source, class_="soft"),
        )
        for title, expected, bound, source in (result.predicted.links if result.predicted else ())
    ]
    table = None
    if rows:
        head = tag("tr", *_heads("Predicted link", "expected s", "bound s", "source"))
        table = tag("details", tag("summary", "How the prediction is computed"), tag("table", head, *rows))
    return _section("Where the time went", text, figures.waterfall(result), table)


def _heads(first: str, *others: str) -> list[Markup]:
    numbers = ("expected s", "bound s", "count", "measured", "budget", "after the fault")
    return [tag("th", first), *(tag("th", name, class_="n" if name in numbers else None) for name in others)]


def _seen(result: Result) -> Markup:
    legend = tag(
        "p",
        "Every statement by the time it was due.",
        tag("i", class_="key ok"),
        "answered",
        tag("i", class_="key some"),
        "partly",
        tag("i", class_="key bad"),
        "not answered",
        class_="soft",
    )
    head = tag("tr", *_heads("Figure", "measured", "budget", ""))
    rows = [_figure_row(one) for one in result.judged]
    return _section("What applications saw", "", legend, figures.lanes(result), tag("table", head, *rows))


FIGURES = {
    "writes": "Longest time without writes while the fault lasted",
    "transactions": "The same for transactions, one each fraction of a second",
    "healing": "Longest time without writes from the healing on",
    "reads": "Longest time without reads",
    "back": "First write after the start",
    "refused": "Until writes were refused with 25006, at the slowest site",
    "healthy": "Until the whole platform was healthy, from the healing on",
}


def _figure_row(one: Judged) -> Markup:
    budget = f"{one.budget:g} s" if one.budget is not None else "—"
    return tag(
        "tr",
        tag("td", FIGURES[one.name]),
        tag("td", measured(one), class_="n"),
        tag("td", budget, class_="n"),
        tag("td", one.detail, class_="soft"),
        class_=None if one.kept else "culprit",
    )


def _stale(result: Result) -> Markup | None:
    picture = figures.stale_reads(result)
    if not picture:
        return None
    return _section(
        "Staleness of reads",
        "The age of the oldest acknowledged write that a read did not see, since its acknowledgement.",
        picture,
    )


def _mark(held: bool) -> Markup:
    return tag("td", "✓" if held else "✗", class_="mark" if held else "mark no")


def _promises(result: Result) -> Markup | None:
    if not result.promises:
        return None
    rows = [
        tag("tr", _mark(promise.held), tag("td", promise.name), tag("td", promise.detail, class_="soft"))
        for promise in result.promises
    ]
    return _section("Promises", "", tag("table", *rows))


def _checks(result: Result) -> Markup:
    rows: list[Markup] = []
    for field, what in (ANOMALIES | {"recovered": "outcome unknown, and present (normal)"} | NOTED).items():
        count = len(getattr(result.findings, field))
        judged = field in ANOMALIES and field not in result.deviations
        known = "!" if count and field in result.deviations else ""
        mark = _mark(count == 0) if judged else tag("td", known, class_="mark")
        rows.append(tag("tr", mark, tag("td", sentence(what)), tag("td", count, class_="n")))
    for stale in result.findings.stalest:
        node = result.history.nodes.get(stale.node)
        who = node.name if node else stale.node
        text = f"Stalest read at {stale.site} (answered by {who})"
        rows.append(
            tag("tr", tag("td", "", class_="mark"), tag("td", text), tag("td", f"{stale.seconds:.2f} s", class_="n"))
        )
    findings = result.findings
    text = (
        f"{findings.acknowledged:,} writes acknowledged, {findings.failed:,} refused, {findings.unknown:,} with "
        f"unknown outcome, {findings.reads:,} reads."
    )
    return _section("Ledger", text, tag("table", *rows))


def _errors(result: Result) -> Markup | None:
    if not result.findings.errors:
        return None
    head = tag("tr", *_heads("Statements", "SQLSTATE", "message", "count"))
    rows = [
        tag(
            "tr",
            tag("td", f"{error.worker} at {error.site}"),
            tag("td", error.sqlstate or "—"),
            tag("td", error.message, class_="log"),
            tag("td", error.count, class_="n"),
        )
        for error in result.findings.errors
    ]
    return _section(
        "Errors", "As applications got them; numbers and addresses replaced by N.", tag("table", head, *rows)
    )


def _records(result: Result) -> Markup | None:
    if not result.records:
        return None
    head = tag("tr", *_heads("after the fault", "node", "component", "event", "in its own words"))
    rows = [
        tag(
            "tr",
            tag("td", f"{record.t - result.phases.injecting:+.2f} s", class_="n"),
            tag("td", record.node),
            tag("td", record.component),
            tag("td", f"{record.what} {record.subject}".strip()),
            tag("td", record.text, class_="log"),
        )
        for record in sorted(result.records, key=lambda record: record.t)
    ]
    summary = tag("summary", f"{len(rows)} records of all components")
    return _section("What happened when", "", tag("details", summary, tag("table", head, *rows)))


def _foot(result: Result) -> Markup:
    began = datetime.fromtimestamp(result.began.unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    load = (
        f"{result.began.writes_per_second:g} writes, {result.began.reads_per_second:g} reads and "
        f"{result.began.transactions_per_second:g} transactions a second at each site"
    )
    clock = f"node clocks within {result.history.clock_error * 1000:.1f} ms"
    return tag("footer", f"{result.began.scenario} on {result.began.platform}, {began}; load: {load}; {clock}.")
