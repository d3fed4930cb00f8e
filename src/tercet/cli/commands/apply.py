"""`tercet apply`: make the plan and execute exactly this plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import destroy_option, with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.converge.plan import Plan
    from tercet.session.session import Session


@click.command(
    "apply",
    cls=Command,
    help="execute exactly the plan that `tercet plan` shows, except what waits for a site that cannot be reached",
    section=Section.PLATFORM,
    order=3,
    examples=(("tercet apply", "repair what was changed by hand, or roll out an edited inventory"),),
    interrupted="No file is half written. `tercet plan` shows what is left to do.",
)
@destroy_option
@click.pass_obj
def cli(call: Invocation, destroy: tuple[str, ...]) -> int:
    """Show the changes while they are made; the last lines count them and list what still waits. Exit 0 if everything
    that can be done now was done.
    """
    from tercet.cli.render import plan_json, render_plan, render_waiting, summary  # noqa: PLC0415

    async def work(session: Session, emit: Emit) -> Plan:
        from tercet.cli.status_view import render_lost  # noqa: PLC0415
        from tercet.observe.snapshot import lost_sites  # noqa: PLC0415
        from tercet.operations.apply import apply  # noqa: PLC0415

        if not call.json:
            render_lost(lost_sites(session.platform), call.console)

        def show(plan: Plan) -> None:
            if not call.json:
                render_plan(plan, call.console)

        return await apply(session, emit, show, destroy)

    plan = with_progress(call, work)
    if call.json:
        call.print_json(plan_json(plan))
    elif not plan.empty:
        render_waiting(plan, call.console)
        call.print(f"Applied: {summary(plan)}")
    return 0
