"""`tercet switchover`: another site's database becomes primary, planned."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.operations.session import Session
    from tercet.operations.switchover import Switched


def arguments(parser: argparse.ArgumentParser) -> None:
    """--to SITE."""
    parser.add_argument("--to", metavar="SITE", help="the site that takes over; default: the standby that lags least")


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Refuses a standby that is not fit; nothing is changed then."""

    async def work(session: Session, emit: Emit) -> Switched:
        from tercet.operations.switchover import switchover  # noqa: PLC0415

        return await switchover(session, arguments.to, emit)

    switched = with_progress(call, work)
    if call.json:
        call.print_json({"old": switched.old, "new": switched.new})
    else:
        call.print(f"{switched.new} is primary, {switched.old} follows it.")
    return 0


command = Command(
    name="switchover",
    summary="hand the primary's role to another site; refuses an unfit one",
    section=Section.PROOF,
    order=3,
    run=run,
    arguments=arguments,
    examples=(
        ("tercet switchover", "to the standby that lags least"),
        ("tercet switchover --to sib-03", "before maintenance at the primary's site"),
    ),
)
