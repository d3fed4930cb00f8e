"""`tercet plan`: show what would change, where and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform

if TYPE_CHECKING:
    from tercet.session.session import Session

CHANGES_PENDING = 2


@click.command(
    "plan",
    cls=Command,
    help="show every needed change with its node and reason; exit 2 if `apply` would make one, 0 if not",
    section=Section.PLATFORM,
    order=2,
    examples=(
        ("tercet plan", "before `tercet apply`"),
        ("tercet plan --diff", "also which lines of each file differ"),
        ("tercet plan --json", "the same for a program"),
    ),
)
@click.option("--diff", is_flag=True, help="also show the lines of each file that differ; secrets are masked")
@click.pass_obj
def cli(call: Invocation, *, diff: bool) -> int:
    """Exit 2 if something can be changed now, else 0. Changes that wait for a site are only listed."""
    from tercet.cli.render import plan_json, render_plan  # noqa: PLC0415
    from tercet.cli.status_view import render_lost  # noqa: PLC0415
    from tercet.observe.snapshot import lost_sites  # noqa: PLC0415
    from tercet.operations.change import make_plan  # noqa: PLC0415
    from tercet.operations.differences import differences  # noqa: PLC0415

    async def work(session: Session) -> int:
        plan = await make_plan(session)
        inside = await differences(session, plan) if diff else {}
        lost = lost_sites(session.platform)
        if call.json:
            call.print_json({**plan_json(plan, inside), "lost_sites": [site.model_dump() for site in lost]})
        else:
            render_lost(lost, call.console)
            render_plan(plan, call.console, inside)
        return 0 if plan.empty else CHANGES_PENDING

    return on_platform(call, work)
