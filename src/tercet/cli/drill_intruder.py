"""`tercet drill intruder`: attacks from several positions, with a verdict for each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.drills.intruder.attempt import Attempt
    from tercet.session.session import Session


@click.command(
    "intruder",
    cls=Command,
    help="try what nobody may do, as users and jobs, and with stolen secrets; exit 1 if anything succeeds",
    examples=(("tercet drill intruder", "some 50 attempts, about a minute; the platform is not disturbed"),),
)
@click.pass_obj
def intruder(call: Invocation) -> int:
    """Exit 1 if an attempt was not refused."""

    async def work(session: Session, emit: Emit) -> list[Attempt]:
        from tercet.drills.intruder.run import intrude  # noqa: PLC0415

        return await intrude(session, emit)

    made = with_progress(call, work)
    reached = [attempt for attempt in made if not attempt.refused]
    if call.json:
        call.print_json(
            [{"position": each.position, "attempt": each.what, "reached": each.reached or None} for each in made]
        )
    else:
        for attempt in reached:
            call.print(f"✗ {attempt.position}: {attempt.what}: {attempt.reached}")
        call.print(f"{len(made) - len(reached)} of {len(made)} attempts were refused.")
    return 1 if reached else 0
