"""`tercet switchover`: a planned change of the primary to another site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.complete import site_names
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.operations.switchover import Switched
    from tercet.session.session import Session


@click.command(
    "switchover",
    cls=Command,
    help="make another site's database the primary; refuses a standby that is not fit",
    section=Section.PROOF,
    order=3,
    examples=(
        ("tercet switchover", "to the standby that lags least"),
        ("tercet switchover --to sib-03", "before maintenance at the primary's site"),
    ),
)
@click.option(
    "--to",
    "site",
    metavar="SITE",
    shell_complete=site_names,
    help="the site of the new primary; default: the standby that lags least",
)
@click.pass_obj
def cli(call: Invocation, site: str | None) -> int:
    """If the standby is not fit, refuse and change nothing."""

    async def work(session: Session, emit: Emit) -> Switched:
        from tercet.operations.switchover import switchover  # noqa: PLC0415

        return await switchover(session, site, emit)

    switched = with_progress(call, work)
    if call.json:
        call.print_json({"old": switched.old, "new": switched.new})
    else:
        call.print(f"{switched.new} is primary, {switched.old} follows it.")
    return 0
