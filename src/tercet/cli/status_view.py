"""A snapshot of the platform as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tercet.components.registry import notes, tables
from tercet.observe.snapshot import LostSiteStatus, NodeStatus, Snapshot
from tercet.tables import Cell, say, table


def render_status(snapshot: Snapshot, console: Console) -> None:
    """Print nodes, and the tables and notes of the components; then everything that is not healthy, with its reason."""
    head = Text(f"platform {snapshot.platform}: ", "bold")
    console.print(head.append("healthy", "bold green") if snapshot.healthy else head.append("not healthy", "bold red"))
    console.print(_nodes(snapshot, console.width))
    for heads, rows in _tables(snapshot).items():
        console.print(table(heads, rows, console.width))
    if snapshot.proxy_reason:
        say(console, Text("proxy: ", "dim").append(snapshot.proxy_reason))
    render_lost(snapshot.lost_sites, console)
    for note in notes():
        for line in note.lines(snapshot.of(note.keys)):
            say(console, line)
    for condition in snapshot.conditions:
        if not condition.passing:
            mark = Text("! ", "yellow") if condition.declared else Text("✗ ", "red")
            say(console, mark.append(f"{condition.title}: {condition.detail}"))


def render_lost(sites: Sequence[LostSiteStatus], console: Console) -> None:
    """Print the lost sites, one line each."""
    for site in sites:
        say(console, Text("lost: ", "bold yellow").append(f"{site.name} · {site.datacenter}: {site.remedy}", ""))


def _tables(snapshot: Snapshot) -> dict[tuple[str, ...], list[Sequence[Cell]]]:
    """The rows of the components' tables, by the tables' heads."""
    found: dict[tuple[str, ...], list[Sequence[Cell]]] = {}
    for each in tables():
        found.setdefault(each.heads, []).extend(each.rows(snapshot.of(each.keys)))
    return found


def _nodes(snapshot: Snapshot, width: int) -> Table:
    rows: list[Sequence[Cell]] = []
    for site in snapshot.sites:
        for node in site.nodes:
            state = Text("healthy", "green") if node.healthy else Text(_wrong(node), "red")
            first = node is site.nodes[0]
            rows.append((f"{site.name} · {site.datacenter}" if first else "", node.name, node.address or "-", state))
    return table(("SITE", "NODE", "ADDRESS", "STATE"), rows, width)


def _wrong(node: NodeStatus) -> str:
    """What is wrong on the node. A reason that is the same for all components is given once."""
    if node.reason:
        return node.reason
    states = {name: state for name, state in node.components.items() if state != "active"}
    if len(states) == len(node.components) and len(set(states.values())) == 1:
        return next(iter(states.values()))
    return ", ".join(f"{name} {state}" for name, state in states.items())
