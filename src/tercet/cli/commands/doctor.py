"""`tercet doctor`: find everything that would make `up` fail later, with remedies."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tercet.providers.preflight import Check

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("-", "dim")}


@click.command(
    "doctor",
    cls=Command,
    help="find everything that would make `up` fail later, and list it with remedies",
    section=Section.INVENTORY,
    order=4,
    examples=(
        ("tercet doctor", "before the first `tercet up` on Proxmox: permissions, storages, network, clocks, tailnet"),
        ("tercet doctor --json", "the same for a script"),
    ),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Exit 1 if a check failed; warnings do not count."""
    from tercet.operations.doctor import examine  # noqa: PLC0415

    checks = on_platform(call, examine)
    ready = all(check.state != "failed" for check in checks)
    if call.json:
        call.print_json({"ready": ready, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        render(checks, call.console)
    return 0 if ready else 1


def render(checks: Sequence[Check], console: Console) -> None:
    """Print one line per check, grouped by site. The remedy is below a check that is not ok."""
    from rich.text import Text  # noqa: PLC0415

    from tercet.tables import say  # noqa: PLC0415

    for about in dict.fromkeys(check.about for check in checks):
        console.print(Text("all sites" if about == "all" else about, "bold"))
        for check in (check for check in checks if check.about == about):
            mark, color = MARKS[check.state]
            text = Text("  ").append(f"{mark} ", color).append(check.title)
            if check.found:
                text.append(f"  {check.found}", color if check.state in ("failed", "warning") else "dim")
            say(console, text, hang=4)
            if check.remedy:
                say(console, Text(f"      {check.remedy}"), hang=6)
    failed = sum(1 for check in checks if check.state == "failed")
    warnings = sum(1 for check in checks if check.state == "warning")
    if failed:
        console.print(f"{failed} of {len(checks)} checks failed: `tercet up` would fail.", style="bold red")
    else:
        noted = f" {warnings} warnings." if warnings else ""
        console.print(f"`tercet up` can start: no check failed.{noted}", style="bold green")
