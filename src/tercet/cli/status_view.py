"""A snapshot of the platform as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tercet.observe.snapshot import AsideStatus, NodeStatus, Snapshot

UNITS = ("B", "kB", "MB", "GB", "TB")


def render_status(snapshot: Snapshot, console: Console) -> None:
    """Nodes, PostgreSQL, leaders, routes; then what is not healthy, each with its reason."""
    head = Text(f"platform {snapshot.platform}: ", "bold")
    console.print(head.append("healthy", "bold green") if snapshot.healthy else head.append("not healthy", "bold red"))
    for table in (_nodes(snapshot), _postgres(snapshot), _leaders(snapshot), _routes(snapshot)):
        console.print(table)
    if snapshot.proxy_reason:
        console.print(Text("proxy: ", "dim").append(snapshot.proxy_reason), soft_wrap=True)
    render_aside(snapshot.aside, console)
    for condition in snapshot.conditions:
        if not condition.passing:
            mark = Text("! ", "yellow") if condition.declared else Text("✗ ", "red")
            console.print(mark.append(f"{condition.title}: {condition.detail}"), soft_wrap=True)


def render_aside(aside: Sequence[AsideStatus], console: Console) -> None:
    """Database files that were moved aside, a line each, and another for what is removed soon."""
    for each in aside:
        line = f"{each.node} {each.name}, {size(each.bytes)}, kept until {day(each.until)}: {each.reason}"
        console.print(Text("moved aside: ", "dim").append(line), soft_wrap=True)
        if each.warning:
            console.print(Text("! ", "yellow").append(f"{each.node} {each.name}: {each.warning}"), soft_wrap=True)


def day(iso: str) -> str:
    """An ISO 8601 time in UTC as date and minute."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def size(count: int) -> str:
    """So many bytes, with a decimal unit: 31.8 MB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} B"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for column in columns:
        if column == "STATE":  # prose gives way in a narrow terminal, names and addresses stay whole
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, no_wrap=True)
    return table


def _nodes(snapshot: Snapshot) -> Table:
    table = _table("SITE", "NODE", "ADDRESS", "STATE")
    for site in snapshot.sites:
        for node in site.nodes:
            state = Text("healthy", "green") if node.healthy else Text(_wrong(node), "red")
            first = node is site.nodes[0]
            table.add_row(f"{site.name} · {site.datacenter}" if first else "", node.name, node.address or "-", state)
    return table


def _wrong(node: NodeStatus) -> str:
    """What is not well on the node; a silent one says why once, not for each component."""
    if node.reason:
        return node.reason
    states = {name: state for name, state in node.components.items() if state != "active"}
    if len(states) == len(node.components) and len(set(states.values())) == 1:
        return next(iter(states.values()))
    return ", ".join(f"{name} {state}" for name, state in states.items())


def _postgres(snapshot: Snapshot) -> Table:
    table = _table("POSTGRESQL", "ROLE", "STATE", "LAG", "COUNTS FOR COMMITS")
    for member in snapshot.postgres.members:
        if member.role == "primary":
            table.add_row(member.node, _primary(writable=snapshot.postgres.writable), member.state, "", "")
        else:
            lag = "unknown" if member.lag_bytes is None else f"{member.lag_bytes} B"
            table.add_row(member.node, member.role, member.state, lag, "yes" if member.sync else "no")
    if not snapshot.postgres.members:
        table.add_row(Text("no Patroni answers", "red"))
    return table


def _primary(*, writable: bool) -> Text:
    text = Text("primary", "bold")
    return text.append(" accepts writes", "") if writable else text.append(" READ-ONLY", "red")


def _leaders(snapshot: Snapshot) -> Table:
    table = _table("CLUSTER", "LEADER", "MEMBERS")
    for name, datacenter in snapshot.consul.items():
        voters = "" if datacenter.voters is None else f"{datacenter.voters} voters"
        table.add_row(f"consul {name}", datacenter.leader or Text("none", "red"), voters)
    alive = sum(1 for status in snapshot.nomad.servers.values() if status == "alive")
    ready = sum(1 for status in snapshot.nomad.clients.values() if status == "ready")
    table.add_row("nomad", snapshot.nomad.leader or Text("none", "red"), f"{alive} servers, {ready} clients")
    return table


def _routes(snapshot: Snapshot) -> Table:
    table = _table("APPLICATION AT", "READS FROM", "WRITES TO", "PROXY")
    for route in snapshot.routes:
        none = Text("nobody", "red")
        table.add_row(route.site, route.read or none, route.write or none, route.proxy or "unknown")
    return table
