"""Every table at every width: columns wrap between words, and no word is cut."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tercet.cli.drill_results import spread_table
from tercet.cli.main import main
from tercet.cli.progress import Running
from tercet.cli.recover_view import render_survey
from tercet.cli.status_view import render_status
from tercet.components.context import Context
from tercet.components.patroni.status import MemberStatus, PostgresKeys
from tercet.components.proxy.status import RouteStatus
from tercet.components.registry import components
from tercet.converge.component import Readings
from tercet.converge.events import Event
from tercet.drills.judge.verdict import Repeated, Result
from tercet.drills.report.terminal import render
from tercet.drills.scenario.file import built_in
from tercet.inventory.default import default_text
from tercet.inventory.load import parse
from tercet.inventory.secrets import Secrets, names
from tercet.inventory.timing import timing_of
from tercet.observe.reach import Databases, Reach
from tercet.observe.snapshot import Snapshot, snapshot, units_of
from tercet.tables import say, table
from tests.drills.sample import Drill, judge

WIDTHS = (60, 80, 120)
WIDE = 500
PICTURES = re.compile(r"[━╸╌x▏▎▍▌▋▊▉█─]+")


def drawn(draw: Callable[[Console], object], width: int) -> list[str]:
    out = io.StringIO()
    draw(Console(file=out, width=width, no_color=True))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.split() if not PICTURES.fullmatch(word)}


@cache
def judged(seed: int = 1) -> Result:
    return judge(Drill(seed=seed).entries(), built_in()["site-killed"])


def close(result: Result) -> Result:
    """Fault and healing so near that their marks would overlap."""
    return replace(result, phases=replace(result.phases, healing=result.phases.injecting + 0.5))


@cache
def seen() -> Snapshot:
    """Everything is wrong with it that a table can show."""
    platform = parse(default_text().encode(), Path("tercet.yml"))
    secrets = Secrets(dict.fromkeys(names(), "x"))
    context = Context(platform, secrets, timing_of(platform.settings), (), "pgpool")
    parts = components(context)
    silent = Readings({}, {"db-sib-01": "db-sib-01: the container does not run"})
    found = snapshot(context, parts, units_of(parts, platform.containers), silent)
    broken = dict.fromkeys(("tailscale", "consul", "dcs", "guard", "patroni", "sentinel"), "activating")
    states = {"components": {**broken, "headscale": "active"}, "address": "100.127.255.254", "reason": ""}
    sites = [
        site.model_copy(update={"nodes": [*(node.model_copy(update=states) for node in site.nodes[:2]), site.nodes[2]]})
        for site in found.sites
    ]
    members = [
        MemberStatus(node="db-sib-01", role="primary", state="running", lag_bytes=None, sync=False),
        MemberStatus(node="db-fsn-01", role="standby", state="streaming", lag_bytes=123_456_789_012, sync=True),
    ]
    routes = [RouteStatus(site="sib-01", read="db-sib-01", write="db-sib-01", proxy="pgpool")]
    postgres = found.of(PostgresKeys).postgres.model_copy(update={"writable": True, "members": members})
    return found.model_copy(update={"sites": sites, "postgres": postgres, "routes": routes})


SURVEY = Databases(
    (Reach("db-sib-01", "7", 12, 0xABCDEF0123), Reach("db-sib-03", "7", 12, 0xABCDE00000)),
    silent={"db-fsn-01": "no answer within 15 s"},
)
TABLES: Mapping[str, Callable[[Console], object]] = {
    "status": lambda console: render_status(seen(), console),
    "survey": lambda console: render_survey(SURVEY, SURVEY.reaches[0], console),
    "drill": lambda console: console.print(render(Repeated((judged(),)), console.width)),
    "drills": lambda console: console.print(render(Repeated((judged(), judged(2), judged(3))), console.width)),
    "marks": lambda console: console.print(render(Repeated((close(judged()),)), console.width)),
    "spread": lambda console: console.print(spread_table(Repeated((judged(), judged(2))), console.width)),
    "progress": lambda console: console.print(running().table(console.width)),
}


def running() -> Running:
    made = Running(clock=lambda: 100.0)
    made.take(
        Event("db-sib-01/patroni", "progress", "waiting for the standby to stream from its primary", seconds=12.3)
    )
    made.take(Event("image", "progress", "consul 1.22.7: compiling github.com/hashicorp/consul", fraction=0.43))
    return made


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_no_word_of_any_table_is_cut(name: str, width: int) -> None:
    lines = drawn(TABLES[name], width)
    assert "…" not in "\n".join(lines)
    whole = words(drawn(TABLES[name], WIDE))
    assert words(lines) <= whole, "parts of words"
    missing = whole - words(lines)
    if width < WIDTHS[-1]:
        missing = {word for word in missing if not may_go(name, word, width)}
    assert not missing


def may_go(name: str, word: str, width: int) -> bool:
    """Words that give way in a narrow terminal, whole."""
    if name == "progress":  # a live line ends where the next word would not fit
        return word not in "db-sib-01/patroni image 87.7 100.0 43% waiting consul"
    if name in ("drill", "drills", "marks"):  # what was expected of a link, and then its node, go before its bar does
        node = re.fullmatch(r"(db|apps|consul-nomad)-.*", word) and width == WIDTHS[0]
        return word == "expected" or bool(re.fullmatch(r"\d+\.\d\d", word) or node)
    return False


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["survey", "drill", "drills", "marks", "spread", "progress"])
def test_no_line_of_a_table_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(cell_len, drawn(TABLES[name], width))) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_drills_are_listed_whole(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["drill", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, map(str.rstrip, lines))) <= width
    shown = " ".join(" ".join(lines).split())
    for scenario in built_in().values():
        assert scenario.name in shown
        assert set(scenario.title.split()) <= set(shown.split())


def test_a_long_line_wraps_between_words_in_a_terminal_and_stays_one_in_a_pipe() -> None:
    line = Text("! dcs: every node is a member: apps-fsn-01 does not see apps-sib-01, consul-nomad-fsn-01, db-sib-03")
    assert drawn(lambda console: say(console, line), 60) == [line.plain]
    out = io.StringIO()
    say(Console(file=out, width=60, no_color=True, force_terminal=True), line)
    first, *more = out.getvalue().splitlines()
    assert more and all(part.startswith("  ") and len(part) <= 60 for part in more)
    assert " ".join([first, *(part.strip() for part in more)]).split() == line.plain.split()


text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
cells = st.lists(text, max_size=6).map(" ".join)


@settings(deadline=None)
@given(st.integers(12, 200), st.lists(st.tuples(cells, cells, cells), max_size=5))
def test_any_table_keeps_its_words_and_its_width(width: int, rows: list[tuple[str, str, str]]) -> None:
    def draw(console: Console) -> None:
        console.print(table(("ONE", "TWO", "THREE"), rows, console.width, right=["TWO"]))

    lines = drawn(draw, width)
    longest = max((cell_len(word) for row in rows for cell in row for word in cell.split()), default=0)
    assert max(map(cell_len, lines), default=0) <= width
    if longest + len("THREE") + 2 <= width:
        given = [word for row in rows for cell in row for word in cell.split()]
        assert sorted(given) == sorted(set_of_heads_removed(lines, given))


def set_of_heads_removed(lines: list[str], given: list[str]) -> list[str]:
    found = [word for line in lines for word in line.split()]
    for head in ("ONE", "TWO", "THREE"):
        while found.count(head) > given.count(head):
            found.remove(head)
    return found
