"""The report: one self-contained file, whole for every kind of drill, whatever the components logged."""

from __future__ import annotations

import io
import re
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tercet.drills import journal
from tercet.drills.judge.verdict import Repeated, Result
from tercet.drills.report.markup import Markup, tag
from tercet.drills.report.page import page
from tercet.drills.report.terminal import BAR, bar, render
from tercet.drills.scenario.file import built_in
from tercet.inventory.journals import What
from tercet.inventory.model import BudgetsModel

from ..sample import Drill, judge


@cache
def one(seed: int = 0, writable: float = 11.9, loss: float = 10.0) -> Result:
    drill = Drill(seed=seed, writable=writable)
    return judge(drill.entries(), built_in()["site-killed"], BudgetsModel(site_loss=loss))


class Reader(HTMLParser):
    """Collects what an HTML page loads or runs, and checks that its elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.foreign: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "embed", "use", "image"):
            self.foreign.append(tag)
        self.foreign += [f"{key}={value}" for key, value in attrs if key in ("src", "href", "onload", "onclick")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_whole_and_loads_nothing() -> None:
    html = page(Repeated((one(),)))
    reader = read(html)
    assert reader.foreign == []
    assert "url(" not in html
    assert "@import" not in html
    text = " ".join(reader.texts)
    for said in (
        "The whole site of the primary loses its power",
        "Passed",
        "Where the time went",
        "failure seen by gossip",
        "What applications saw",
        "Promises",
        "acknowledged writes lost",
        "2026-11-23 06:45:39 UTC",
    ):
        assert said in text, said


def test_every_picture_is_sound_xml() -> None:
    html = page(Repeated((one(0), one(1), one(2, 14.0))))
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        numbers = [
            float(value)
            for element in root.iter()
            for key, value in element.attrib.items()
            if key in ("x", "y", "width", "height", "x1", "x2", "y1", "y2", "cx", "cy")
        ]
        assert numbers
        assert all(-1 <= number <= 1000 for number in numbers)


def test_repeated_runs_show_median_and_worst() -> None:
    runs = Repeated((one(0), one(1), one(2, 14.0)))
    text = " ".join(read(page(runs)).texts)
    assert f"median of 3; worst {runs.worst:.1f} s" in text
    assert "All runs" in text
    assert "All runs" not in " ".join(read(page(Repeated((one(),)))).texts)


def test_a_failed_drill_says_why() -> None:
    failed = Repeated((one(loss=1.0),))
    text = " ".join(read(page(failed)).texts)
    assert "Failed" in text
    assert "writes: " in text
    assert "budget 1 s" in text


def test_whatever_was_logged_is_only_text() -> None:
    evil = '<script>alert("x")</script>'
    entries = Drill().entries()
    entries.append(journal.Record(t=9, node=evil, component="dcs", what=What.ELECTION, subject=evil, text=evil))
    entries.append(journal.Failed(t=9, site="sib-03", worker="reader", scheduled=9, stage="connect", message=evil))
    html = page(Repeated((judge(entries, built_in()["site-killed"]),)))
    assert read(html).foreign == []
    assert "&lt;script&gt;" in html


def test_stale_reads_are_drawn_where_there_were_any() -> None:
    entries = Drill().entries()
    stuck: list[journal.AnyEntry] = []
    frozen: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, journal.Read) and entry.site == "fsn-01" and entry.t > 20:
            frozen = frozen or entry.seen
            stuck.append(entry.model_copy(update={"seen": frozen}))
        else:
            stuck.append(entry)
    behind = judge(stuck, built_in()["site-killed"])
    assert "Staleness of reads" in page(Repeated((behind,)))
    assert "Staleness of reads" not in page(Repeated((one(),)))
    assert max(stale.seconds for stale in behind.findings.stalest) > 30


def test_a_drill_in_which_nothing_happened_has_a_report() -> None:
    entries = [entry for entry in Drill().entries() if isinstance(entry, journal.Began | journal.Predicted)]
    empty = Repeated((judge(entries, built_in()["switchover"]),))
    assert not empty.passed
    assert "no write was ever acknowledged" in " ".join(read(page(empty)).texts)
    assert "no write was ever acknowledged" in shown(empty)


def shown(repeated: Repeated, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(render(repeated, width))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_terminal_shows_the_same() -> None:
    text = shown(Repeated((one(0), one(1, 14.0))))
    assert "PASSED" in text
    assert "2 runs: median" in text
    assert "failure seen by gossip" in text
    assert "0 lost" in text
    assert "▲ fault" in text
    assert all(len(line) <= 110 for line in text.splitlines())
    assert "FAILED" in shown(Repeated((one(loss=1.0),)))


@pytest.mark.parametrize(("begin", "share"), [(0, 1), (0, 0.001), (0.999, 0.001), (0.5, 0.25), (1, 0)])
def test_a_bar_stays_in_its_column(begin: float, share: float) -> None:
    text = bar(begin, share, "red").plain
    assert 1 <= len(text) <= BAR
    assert text.strip()


def test_markup_escapes_what_is_not_markup() -> None:
    assert tag("p", "<&", tag("b", "x"), None, 1.5, title='"') == '<p title="&quot;">&lt;&amp;<b>x</b>1.5</p>'
    assert tag("rect", x=1.234, class_="a", stroke_width=None) == '<rect x="1.23" class="a"/>'
    assert isinstance(tag("p"), Markup)
