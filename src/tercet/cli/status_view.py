"""A snapshot of the platform as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tercet.observe.snapshot import AsideStatus, LostSiteStatus, NodeStatus, Snapshot
from tercet.tables import Cell, say, table

UNITS = ("B", "kB", "MB", "GB", "TB")


def render_status(snapshot: Snapshot, console: Console) -> None:
    """Nodes, PostgreSQL, leaders, routes; then what is not healthy, each with its reason."""
    head = Text(f"platform {snapshot.platform}: ", "bold")
    console.print(head.append("healthy", "bold green") if snapshot.healthy else head.append("not healthy", "bold red"))
    for part in (_nodes, _postgres, _leaders, _routes):
        console.print(part(snapshot, console.width))
    if snapshot.proxy_reason:
        say(console, Text("proxy: ", "dim").append(snapshot.proxy_reason))
    render_lost(snapshot.lost_sites, console)
    render_aside(snapshot.aside, console)
    for condition in snapshot.conditions:
        if not condition.passing:
            mark = Text("! ", "yellow") if condition.declared else Text("✗ ", "red")
            say(console, mark.append(f"{condition.title}: {condition.detail}"))


def render_lost(sites: Sequence[LostSiteStatus], console: Console) -> None:
    """Sites that are lost, a line each."""
    for site in sites:
        say(console, Text("lost: ", "bold yellow").append(f"{site.name} · {site.datacenter}: {site.remedy}", ""))


def render_aside(aside: Sequence[AsideStatus], console: Console) -> None:
    """Database files that were moved aside, a line each, and another for what is removed soon."""
    for each in aside:
        line = f"{each.node} {each.name}, {size(each.bytes)}, kept until {day(each.until)}: {each.reason}"
        say(console, Text("moved aside: ", "dim").append(line))
        if each.warning:
            say(console, Text("! ", "yellow").append(f"{each.node} {each.name}: {each.warning}"))


def day(iso: str) -> str:
    """An ISO 8601 time in UTC as date and minute."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def size(count: int) -> str:
    """So many bytes, with a decimal unit: 31.8 MB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} B"


def _nodes(snapshot: Snapshot, width: int) -> Table:
    rows: list[Sequence[Cell]] = []
    for site in snapshot.sites:
        for node in site.nodes:
            state = Text("healthy", "green") if node.healthy else Text(_wrong(node), "red")
            first = node is site.nodes[0]
            rows.append((f"{site.name} · {site.datacenter}" if first else "", node.name, node.address or "-", state))
    return table(("SITE", "NODE", "ADDRESS", "STATE"), rows, width)


def _wrong(node: NodeStatus) -> str:
    """What is not well on the node; a silent one says why once, not for each component."""
    if node.reason:
        return node.reason
    states = {name: state for name, state in node.components.items() if state != "active"}
    if len(states) == len(node.components) and len(set(states.values())) == 1:
        return next(iter(states.values()))
    return ", ".join(f"{name} {state}" for name, state in states.items())


def _postgres(snapshot: Snapshot, width: int) -> Table:
    rows: list[Sequence[Cell]] = []
    for member in snapshot.postgres.members:
        if member.role == "primary":
            rows.append((member.node, _primary(writable=snapshot.postgres.writable), member.state, "", ""))
        else:
            lag = "unknown" if member.lag_bytes is None else f"{member.lag_bytes} B"
            rows.append((member.node, member.role, member.state, lag, "yes" if member.sync else "no"))
    if not snapshot.postgres.members:
        rows.append((Text("no Patroni answers", "red"), "", "", "", ""))
    return table(("POSTGRESQL", "ROLE", "STATE", "LAG", "COUNTS FOR COMMITS"), rows, width)


def _primary(*, writable: bool) -> Text:
    text = Text("primary", "bold")
    return text.append(" accepts writes", "") if writable else text.append(" READ-ONLY", "red")


def _leaders(snapshot: Snapshot, width: int) -> Table:
    rows: list[Sequence[Cell]] = []
    for name, datacenter in snapshot.consul.items():
        voters = "" if datacenter.voters is None else f"{datacenter.voters} voters"
        rows.append((f"consul {name}", datacenter.leader or Text("none", "red"), voters))
    alive = sum(1 for status in snapshot.nomad.servers.values() if status == "alive")
    ready = sum(1 for status in snapshot.nomad.clients.values() if status == "ready")
    rows.append(("nomad", snapshot.nomad.leader or Text("none", "red"), f"{alive} servers, {ready} clients"))
    return table(("CLUSTER", "LEADER", "MEMBERS"), rows, width)


def _routes(snapshot: Snapshot, width: int) -> Table:
    none = Text("nobody", "red")
    rows = [
        (route.site, route.read or none, route.write or none, route.proxy or "unknown") for route in snapshot.routes
    ]
    return table(("APPLICATION AT", "READS FROM", "WRITES TO", "PROXY"), rows, width)
