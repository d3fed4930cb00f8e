"""What each database node has, and what would be lost if it became the leader, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tercet.observe.reach import Databases, Reach, lsn
from tercet.tables import Cell, say, table

if TYPE_CHECKING:
    from tercet.operations.rejoin import Back
    from tercet.operations.site_alone import SiteState


def render_survey(survey: Databases, leader: Reach, console: Console) -> None:
    """Print one line per node. The proposed leader is marked."""
    rows: list[Sequence[Cell]] = []
    for reach in survey.reaches:
        mark = Text("▶", "green") if reach == leader else ""
        rows.append((mark, reach.node, str(reach.timeline), lsn(reach.end), _state(reach), _lost(survey, reach)))
    rows += [("", node, "-", "-", "no data", "it cannot lead") for node in survey.empty]
    unknown = Text("unknown", "red")
    rows += [("", node, unknown, unknown, "unknown", reason) for node, reason in survey.silent.items()]
    heads = ("", "NODE", "TIMELINE", "END OF WAL", "POSTGRESQL", "LOST IF IT LEADS")
    console.print(table(heads, rows, console.width))


def _state(reach: Reach) -> str:
    if not reach.running:
        return "stopped"
    return "standby" if reach.standby else "primary"


def _lost(survey: Databases, reach: Reach) -> str:
    parts = [f"{lost} bytes of {node}" for node, lost in survey.lost(reach).items() if lost]
    parts += [f"what only {node} has: unknown" for node in survey.silent]
    return ", ".join(parts) or "nothing"


def survey_json(survey: Databases) -> dict[str, Any]:
    """The survey as plain data. A node that could not be read has a reason instead of a position."""
    nodes: list[dict[str, Any]] = [
        {
            "node": reach.node,
            "timeline": reach.timeline,
            "end": lsn(reach.end),
            "state": _state(reach),
            "lost_if_it_leads": survey.lost(reach),
        }
        for reach in survey.reaches
    ]
    nodes += [{"node": node, "state": "empty"} for node in survey.empty]
    nodes += [{"node": node, "state": "unknown", "reason": reason} for node, reason in survey.silent.items()]
    return {"nodes": nodes}


def render_alone(found: SiteState, console: Console) -> None:
    """Print what the site has, what it last knew, and what cannot be known here."""
    reach, known = found.reach, found.known
    facts: list[tuple[str, Text]] = []

    def fact(what: str, text: str | Text) -> None:
        facts.append((what, text if isinstance(text, Text) else Text(text)))

    if reach is not None:
        fact(reach.node, f"{_state(reach)}, timeline {reach.timeline}, end of WAL {lsn(reach.end)}")
        fact("last commit", reach.committed or "none since its last checkpoint")
    if known.leader:
        standbys = f", standbys that confirmed: {', '.join(known.standbys)}" if known.standbys else ""
        fact("dcs last knew", f"primary {known.leader}{standbys}")
        told = f"end of WAL {lsn(known.optime)}" if known.optime else "nothing of its WAL"
        missing = "unknown" if found.missing is None else f"{found.missing} bytes of that are missing here"
        fact("it reported", f"{told}; {missing}")
    else:
        fact("dcs last knew", Text("nothing", "red"))
    fact("unknown", f"whether {' and '.join(found.lost)} went on without it. {found.doubt}")
    width = max(len(what) for what, _ in facts) + 2
    for what, text in facts:
        say(console, Text(what.ljust(width), "dim").append_text(text), hang=width)


def alone_json(found: SiteState) -> dict[str, Any]:
    """The same as plain data."""
    reach, known = found.reach, found.known
    return {
        "site": found.site,
        "lost": list(found.lost),
        "node": None if reach is None else {**_reach_json(reach), "last_commit": reach.committed or None},
        "known": {"primary": known.leader or None, "standbys": list(known.standbys), "optime": lsn(known.optime)},
        "missing_at_least": found.missing,
        "doubt": found.doubt,
    }


def render_back(found: Back, console: Console) -> None:
    """Print what only the returned databases have, one line each."""
    rows: list[Sequence[Cell]] = []
    for each in found.databases:
        if each.reach is None:
            rows.append((each.node, "-", "-", "-", "it holds no data"))
            continue
        only = f"{each.size} bytes, {each.commits} transactions"
        if each.commits:
            only += f", committed from {each.first} to {each.last}"
        rows.append((each.node, str(each.reach.timeline), lsn(each.reach.end), lsn(each.fork), only))
    console.print(table(("NODE", "TIMELINE", "END OF WAL", "PARTED AT", "ONLY THERE"), rows, console.width))


def returned_json(found: Back) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "sites": list(found.sites),
        "still_lost": list(found.left),
        "databases": [
            {"node": each.node, "state": "empty"}
            if each.reach is None
            else {
                **_reach_json(each.reach),
                "parted_at": lsn(each.fork),
                "bytes_only_there": each.size,
                "transactions_only_there": each.commits,
                "first": each.first or None,
                "last": each.last or None,
            }
            for each in found.databases
        ],
    }


def _reach_json(reach: Reach) -> dict[str, Any]:
    return {"node": reach.node, "state": _state(reach), "timeline": reach.timeline, "end": lsn(reach.end)}
