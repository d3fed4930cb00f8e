"""`tercet up`: image, containers, components, proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import broken, destroy_option, with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.observe.snapshot import Snapshot
    from tercet.operations.up import Raised
    from tercet.session.session import Session


@click.command(
    "up",
    cls=Command,
    help="raise the platform and prove it; continues where an earlier run stopped",
    section=Section.PLATFORM,
    order=1,
    examples=(
        ("tercet up", "the platform of tercet.yml"),
        ("tercet up --lab", "the same inventory in the built-in lab instead of its provider"),
    ),
    interrupted="No file is half written. `tercet up` continues from here; `tercet down` removes what exists.",
)
@destroy_option
@click.pass_obj
def cli(call: Invocation, destroy: tuple[str, ...]) -> int:
    """Raise the platform, then show it. Exit 1 if a promise does not hold."""
    from tercet.cli.render import plan_json, render_waiting  # noqa: PLC0415
    from tercet.cli.status_view import render_status  # noqa: PLC0415
    from tercet.cli.verdicts import but_for, render_broken, verdicts_json  # noqa: PLC0415

    async def work(session: Session, emit: Emit) -> tuple[Raised, Snapshot]:
        from tercet.operations.up import up  # noqa: PLC0415

        raised = await up(session, emit, destroy)
        return raised, await raised.session.snapshot()

    raised, snapshot = with_progress(call, work)
    if call.json:
        left = {key: plan_json(raised.plan)[key] for key in ("waiting", "unreachable")}
        call.print_json({"status": snapshot.model_dump(), "verdicts": verdicts_json(raised.verdicts), **left})
    else:
        render_status(snapshot, call.console)
        render_waiting(raised.plan, call.console)
        render_broken(raised.verdicts, call.errors)
        if raised.proven:
            site = raised.session.platform.sites[0].name
            call.print(f"\nEvery promise was proven{but_for(raised.verdicts)}. Connect: tercet psql {site}")
    return broken(raised.verdicts)
