"""The views of events, fed with what a run really emits."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tercet.cli.progress import Running, progress
from tercet.converge.events import Event

RECORDED = (
    Event("image", "started", "preparing the image"),
    Event("image/consul", "progress", "consul: fetching 1 of 15 MB", seconds=0.4, fraction=0.07),
    Event("image/consul", "progress", "consul: fetching 2 of 15 MB", seconds=0.8, fraction=0.13),
    Event("image/consul", "progress", "consul: fetching 14 of 15 MB", seconds=11.0, fraction=0.93),
    Event("image/consul", "progress", "consul: verifying", seconds=11.5),
    Event("image/consul", "done", "consul: 1.22.7, official", seconds=12.0),
    Event("image", "done", "image 5d41402a", seconds=14.2),
    Event("consul", "progress", "2 changes", node="db-sib-01", seconds=0.5),
    Event("consul", "failed", "dc1 has a leader: no leader after 30 s", seconds=30.0),
)


def test_a_log_gets_lines_without_repetition() -> None:
    out = io.StringIO()
    with progress(Console(file=out, width=40)) as emit:
        for event in RECORDED:
            emit(event)
    assert out.getvalue() == (
        "· image               0.0 s  preparing the image\n"
        "· image/consul        0.4 s  fetching 1 of 15 MB (7%)\n"
        "· image/consul       11.0 s  fetching 14 of 15 MB (93%)\n"
        "· image/consul       11.5 s  verifying\n"
        "✓ image/consul       12.0 s  1.22.7, official\n"
        "✓ image              14.2 s  image 5d41402a\n"
        "· consul              0.5 s  db-sib-01: 2 changes\n"
        "✗ consul             30.0 s  dc1 has a leader: no leader after 30 s\n"
    )


def test_a_log_gets_every_line_when_asked() -> None:
    out = io.StringIO()
    with progress(Console(file=out), verbose=True) as emit:
        for event in RECORDED:
            emit(event)
    assert len(out.getvalue().splitlines()) == len(RECORDED)


def test_programs_get_every_event_as_json() -> None:
    out = io.StringIO()
    with progress(Console(file=out), as_json=True) as emit:
        for event in RECORDED:
            emit(event)
    shown = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [Event(**each) for each in shown] == list(RECORDED)


def test_a_terminal_keeps_what_ended_and_drops_what_ran() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    with progress(console) as emit:
        for event in RECORDED:
            emit(event)
    screen = _screen(out.getvalue())
    assert [line for line in screen if line] == [
        "✓ image/consul       12.0 s  1.22.7, official",
        "✓ image              14.2 s  image 5d41402a",
        "✗ consul             30.0 s  dc1 has a leader: no leader after 30 s",
    ]


def test_the_live_table_counts_on_between_two_events() -> None:
    now = [100.0]
    running = Running(clock=lambda: now[0])
    running.take(Event("patroni", "progress", "waiting for two standbys", seconds=3.0))
    running.take(Event("nomad", "progress", "starting", node="apps-sib-01", fraction=0.5))
    now[0] = 104.0
    table = _plain(running)
    assert "patroni" in table[0] and "7.0 s" in table[0] and "waiting for two standbys" in table[0]
    assert "4.0 s" in table[1] and "50%" in table[1] and "apps-sib-01: starting" in table[1]
    running.take(Event("patroni", "done", "one primary, two standbys", seconds=7.0))
    assert len(_plain(running)) == 1


def test_the_live_table_stays_within_the_terminal() -> None:
    running = Running(clock=lambda: 0.0)
    running.take(Event("image/consul-template", "progress", "x" * 500, fraction=0.5))
    assert len(_plain(running, width=60)) == 1


def test_an_error_leaves_the_terminal_usable() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with pytest.raises(RuntimeError), progress(console) as emit:
        emit(RECORDED[0])
        raise RuntimeError
    assert "\x1b[?25l" not in out.getvalue().rpartition("\x1b[?25h")[2]  # the cursor is shown again
    assert _screen(out.getvalue()) == ["", ""]


def _plain(running: Running, width: int = 100) -> list[str]:
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(running.table(width))
    return [line.rstrip() for line in capture.get().splitlines()]


def _screen(written: str) -> list[str]:
    """What stands on a terminal after these bytes, as far as they use what rich's live view uses."""
    lines, row, at = [""], 0, 0
    while at < len(written):
        if written.startswith("\x1b[", at):
            end = at + 2
            while not written[end].isalpha():
                end += 1
            number, command = written[at + 2 : end], written[end]
            if command == "A":
                row = max(0, row - int(number or 1))
            elif command == "K":
                lines[row] = ""
            at = end + 1
            continue
        character = written[at]
        if character == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif character != "\r":
            lines[row] += character
        at += 1
    return [line.rstrip() for line in lines]
