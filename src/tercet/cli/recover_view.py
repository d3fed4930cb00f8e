"""What each database node has, and what would be lost if it led, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from tercet.observe.reach import Reach, Survey, lsn
from tercet.tables import Cell, table


def render_survey(survey: Survey, leader: Reach, console: Console) -> None:
    """One line a node; the one that would lead is marked."""
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


def _lost(survey: Survey, reach: Reach) -> str:
    parts = [f"{lost} bytes of {node}" for node, lost in survey.lost(reach).items() if lost]
    parts += [f"what only {node} has: unknown" for node in survey.silent]
    return ", ".join(parts) or "nothing"


def survey_json(survey: Survey) -> dict[str, Any]:
    """The same as plain data. A node that could not be read has a reason instead of a position."""
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
