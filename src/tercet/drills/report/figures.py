"""The pictures of a report, as SVG. Pure: a judged drill in, markup out. Colours are classes of style.py.

All are 920 units wide and scale with the page; text has the page's font.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tercet.drills.judge.checker import staleness
from tercet.drills.judge.history import Slot, WriteOutcome
from tercet.drills.judge.verdict import Repeated, Result
from tercet.drills.report.markup import Markup, join, tag

WIDTH = 920.0
LEFT = 204.0  # the end of the names and the beginning of the picture
RIGHT = 76.0
BINS = 360


def _svg(height: float, title: str, *children: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title),
        *children,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


class Scale:
    """Converts seconds to units of the picture."""

    def __init__(self, start: float, end: float, right: float = RIGHT) -> None:
        self.start, self.end = start, max(end, start + 0.001)
        self._unit = (WIDTH - LEFT - right) / (self.end - self.start)

    def x(self, t: float) -> float:
        return LEFT + (min(max(t, self.start), self.end) - self.start) * self._unit

    def ticks(self) -> list[float]:
        """Five to ten round numbers of seconds, for the axis."""
        span = self.end - self.start
        step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 1000) if span / s <= 10 or s == 1000)
        first = math.ceil(self.start / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.end / step + 1e-9) + 1)]


def _axis(scale: Scale, top: float, bottom: float, unit: str = " s") -> Markup:
    marks: list[Markup] = []
    for t in scale.ticks():
        x = scale.x(t)
        marks.append(tag("line", x1=x, y1=top, x2=x, y2=bottom, class_="grid"))
        marks.append(tag("text", f"{t:g}{unit}", x=x, y=bottom + 15, class_="tick", text_anchor="middle"))
    return join(marks)


def waterfall(result: Result) -> Markup:
    """The cost of each link of the chain, for each site that lost its writes, next to the prediction."""
    chains = result.chains
    if not chains:
        return Markup("")
    titles = list(dict.fromkeys(link.title for chain in chains for link in chain.links))
    titles.sort(key=lambda title: max(link.t for chain in chains for link in chain.links if link.title == title))
    origin = min(chain.start for chain in chains)
    scale = Scale(0.0, max(chain.end for chain in chains) - origin)
    predicted = predicted_costs(result, titles)
    bar, gap = 9.0, 2.0
    row = max(26.0, len(chains) * (bar + gap) + 12.0)
    top = 30.0
    bottom = top + row * len(titles)
    worst = max(chains, key=lambda chain: chain.end - chain.start)
    parts: list[Markup] = [_axis(scale, top - 4, bottom), *_site_legend([chain.site for chain in chains])]
    for index, title in enumerate(titles):
        y = top + row * index
        culprit = title == worst.costliest.title
        parts.append(
            tag(
                "text",
                title,
                x=LEFT - 12,
                y=y + row / 2 + 4,
                class_="name strong" if culprit else "name",
                text_anchor="end",
            )
        )
        if index % 2:
            parts.append(tag("rect", x=LEFT, y=y, width=WIDTH - LEFT, height=row, class_="band"))
        costs: list[float] = []
        for place, chain in enumerate(chains):
            link = next((link for link in chain.links if link.title == title), None)
            if link is None:
                continue
            costs.append(link.cost)
            x1, x2 = scale.x(link.t - link.cost - origin), scale.x(link.t - origin)
            height = len(chains) * (bar + gap) - gap
            at = y + (row - height) / 2 + place * (bar + gap)
            parts.append(
                tag(
                    "rect",
                    tag("title", f"{chain.site}: {title} +{link.cost:.2f} s on {link.node}. {link.text}"),
                    x=x1,
                    y=at,
                    width=max(1.5, x2 - x1),
                    height=bar,
                    rx=2,
                    class_=f"site{place % 3}{' culprit' if culprit else ''}",
                )
            )
        if title in predicted and costs:
            start = min(link.t - link.cost for chain in chains for link in chain.links if link.title == title)
            x1, x2 = scale.x(start - origin), scale.x(start - origin + predicted[title])
            y2 = y + row - 4
            parts.append(tag("line", x1=x1, y1=y2, x2=max(x1 + 1.5, x2), y2=y2, class_="expected"))
        said = f"+{max(costs):.2f} s" if costs else ""
        parts.append(
            tag(
                "text",
                said,
                x=WIDTH - 4,
                y=y + row / 2 + 4,
                class_="value strong" if culprit else "value",
                text_anchor="end",
            )
        )
    return _svg(bottom + 24, "Where the time went", *parts)


def predicted_costs(result: Result, titles: Sequence[str]) -> dict[str, float]:
    """Expected seconds of each measured link. Finer steps of the prediction are added to the next measured link."""
    if result.predicted is None:
        return {}
    costs: dict[str, float] = {}
    carried = 0.0
    for title, expected, _, _ in result.predicted.links:
        carried += expected
        if title in titles:
            costs[title] = carried
            carried = 0.0
    return costs


def _site_legend(sites: Sequence[str]) -> list[Markup]:
    parts: list[Markup] = []
    x = LEFT
    for place, site in enumerate(sites):
        parts.append(tag("rect", x=x, y=5, width=12, height=9, rx=2, class_=f"site{place % 3}"))
        parts.append(tag("text", site, x=x + 17, y=14, class_="tick"))
        x += 34 + 7.2 * len(site)
    parts.append(tag("line", x1=x, y1=10, x2=x + 16, y2=10, class_="expected"))
    parts.append(tag("text", "expected", x=x + 21, y=14, class_="tick"))
    return parts


LANES = (("writer", "writes"), ("transactions", "transactions"), ("reader", "reads"))


def lanes(result: Result) -> Markup:
    """What the applications of each site saw during the whole drill: answered, refused, unknown or never sent."""
    slots = result.history.slots
    zero = result.phases.injecting
    times = [slot.scheduled for of_stream in slots.values() for slot in of_stream]
    if not times:
        return Markup("")
    scale = Scale(min(times) - zero, max(times) - zero, right=16.0)
    height, between, top = 15.0, 18.0, 26.0
    sites = [site for site in dict.fromkeys(node.site for node in result.began.nodes) if site]
    bottom = top + len(sites) * (len(LANES) * (height + 2) + between)
    parts = [_fault_band(result, scale, top - 8, bottom - between + 6), _axis(scale, top - 8, bottom - between + 6)]
    y = top
    for site in sites:
        name = f"{site} (hit)" if site in result.down else site
        parts.append(tag("text", name, x=4, y=y + 12, class_="name strong"))
        for worker, title in LANES:
            parts.append(tag("text", title, x=LEFT - 12, y=y + 12, class_="name", text_anchor="end"))
            of_stream = next((value for key, value in slots.items() if key == (site, worker)), ())
            parts.append(_lane(of_stream, scale, zero, y, height))
            y += height + 2
        y += between
    return _svg(bottom + 14, "What applications saw", *parts, *_moments(result, scale, top - 8, bottom - between + 6))


def _lane(slots: Sequence[Slot], scale: Scale, zero: float, y: float, height: float) -> Markup:
    """Bins of the schedule, coloured by the share of their statements that were answered. Equal neighbours are
    merged.
    """
    step = (scale.end - scale.start) / BINS
    counts = [[0, 0] for _ in range(BINS)]
    for slot in slots:
        index = min(BINS - 1, max(0, int((slot.scheduled - zero - scale.start) / step)))
        counts[index][0] += 1
        counts[index][1] += slot.succeeded is not None
    classes = [_shade(due, answered) for due, answered in counts]
    _fill_sparse(classes)
    parts: list[Markup] = []
    begin = 0
    for index in range(1, BINS + 1):
        if index < BINS and classes[index] == classes[begin]:
            continue
        if classes[begin]:
            x1, x2 = scale.x(scale.start + begin * step), scale.x(scale.start + index * step)
            parts.append(tag("rect", x=x1, y=y, width=x2 - x1 + 0.3, height=height, class_=classes[begin]))
        begin = index
    return tag("g", *parts)


def _shade(due: int, answered: int) -> str:
    if not due:
        return ""
    share = answered / due
    return "ok" if share == 1 else "some" if share > 0 else "bad"


def _fill_sparse(classes: list[str]) -> None:
    """Fill short holes with the colour before them: a slow load leaves empty bins between its statements."""
    filled = [index for index, shade in enumerate(classes) if shade]
    for one, other in pairwise(filled):
        if 1 < other - one <= 5:
            classes[one + 1 : other] = [classes[one]] * (other - one - 1)


def _fault_band(result: Result, scale: Scale, top: float, bottom: float) -> Markup:
    zero = result.phases.injecting
    x1, x2 = scale.x(0.0), scale.x(result.phases.healing - zero)
    return tag("rect", x=x1, y=top, width=max(1.0, x2 - x1), height=bottom - top, class_="fault")


def _moments(result: Result, scale: Scale, top: float, bottom: float) -> list[Markup]:
    phases = result.phases
    parts: list[Markup] = []
    for t, title in ((phases.injecting, "fault"), (phases.healing, "healing"), (phases.healed, "healed")):
        x = scale.x(t - phases.injecting)
        parts.append(tag("line", x1=x, y1=top, x2=x, y2=bottom, class_="moment"))
        if (
            title != "healed"
            or scale.x(phases.healed - phases.injecting) - scale.x(phases.healing - phases.injecting) > 60
        ):
            parts.append(tag("text", title, x=x + 4, y=top - 4, class_="tick"))
    return parts


def stale_reads(result: Result) -> Markup:
    """The staleness of the reads of each site; no picture if it was always below half a second."""
    acknowledged = [write for write in result.history.writes if write.outcome is WriteOutcome.ACKNOWLEDGED]
    series: dict[str, list[tuple[float, float]]] = {}
    for site in dict.fromkeys(read.site for read in result.history.reads):
        reads = [read for read in result.history.reads if read.site == site]
        points = staleness(acknowledged, reads)
        if max(seconds for _, seconds in points) > 0.5:
            series[site] = points
    if not series:
        return Markup("")
    zero = result.phases.injecting
    times = [t for points in series.values() for t, _ in points]
    most = max(seconds for points in series.values() for _, seconds in points)
    scale = Scale(min(times) - zero, max(times) - zero, right=16.0)
    top, bottom = 24.0, 134.0
    parts = [_fault_band(result, scale, top, bottom), _axis(scale, top, bottom)]
    for place, (site, points) in enumerate(sorted(series.items())):
        path = " ".join(
            f"{scale.x(t - zero):.1f},{bottom - (bottom - top) * seconds / most:.1f}" for t, seconds in _thinned(points)
        )
        parts.append(tag("polyline", points=path, class_=f"curve{place % 3}"))
        parts.append(tag("rect", x=LEFT + 110 * place, y=4, width=12, height=9, rx=2, class_=f"site{place % 3}"))
        parts.append(tag("text", site, x=LEFT + 110 * place + 17, y=13, class_="tick"))
    parts.append(tag("text", f"{most:.1f} s", x=LEFT - 12, y=top + 8, class_="name", text_anchor="end"))
    parts.append(tag("text", "behind", x=LEFT - 12, y=top + 24, class_="name", text_anchor="end"))
    return _svg(bottom + 22, "Staleness of reads", *parts)


def _thinned(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """At most about 600 points: of each group, the one with the greatest staleness."""
    group = max(1, len(points) // 600)
    for start in range(0, len(points), group):
        yield max(points[start : start + group], key=lambda point: point[1])


def runs(repeated: Repeated) -> Markup:
    """Each run's seconds without writes on one line, with median, worst, expectation and budget."""
    figures = [one.unavailable for one in repeated.results if math.isfinite(one.unavailable)]
    if len(repeated.results) < 2 or not figures:
        return Markup("")
    first = repeated.results[0]
    expected, bound = (first.predicted.expected, first.predicted.bound) if first.predicted else (0.0, 0.0)
    budget = next((one.budget for one in first.judged if one.name == first.main), None)
    scale = Scale(0.0, max([*figures, bound, budget or 0.0]) * 1.06)
    middle = 52.0
    parts = [_axis(scale, 22, 82)]
    if bound:
        x1, x2 = scale.x(expected), scale.x(bound)
        parts.append(tag("rect", x=x1, y=middle - 14, width=x2 - x1, height=28, rx=4, class_="range"))
        parts.append(tag("text", f"expected {expected:.1f} s … bound {bound:.1f} s", x=x1 + 6, y=18, class_="tick"))
    if budget is not None:
        x = scale.x(budget)
        parts.append(tag("line", x1=x, y1=24, x2=x, y2=82, class_="budget"))
        parts.append(tag("text", f"budget {budget:g} s", x=x, y=18, class_="tick", text_anchor="middle"))
    x = scale.x(repeated.median)
    parts.append(tag("line", x1=x, y1=middle - 20, x2=x, y2=middle + 20, class_="median"))
    parts += [
        tag(
            "circle",
            tag("title", f"run {number}: {one.unavailable:.2f} s, {'passed' if one.passed else 'failed'}"),
            cx=scale.x(one.unavailable),
            cy=middle + 5.0 * (number % 3 - 1),
            r=5,
            class_="run" if one.passed else "run bad",
        )
        for number, one in enumerate(repeated.results, 1)
        if math.isfinite(one.unavailable)
    ]
    label = f"{len(repeated.results)} runs"
    parts.append(tag("text", label, x=LEFT - 12, y=middle + 4, class_="name", text_anchor="end"))
    return _svg(104, "All runs", *parts)
