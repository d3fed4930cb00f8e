"""`tercet verify`: prove the specification's promises now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import broken, with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.observe.verify import Verdict
    from tercet.session.session import Session


@click.command(
    "verify",
    cls=Command,
    help="prove the specification's promises end to end; exit 1 if one does not hold",
    section=Section.PROOF,
    order=1,
    examples=(
        ("tercet verify", "leaders, replication, routes, a job in every datacenter, rows written and read back"),
    ),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Exit 1 if a promise does not hold."""
    from tercet.cli.verdicts import render_verdicts, verdicts_json  # noqa: PLC0415

    async def work(session: Session, emit: Emit) -> list[Verdict]:
        from tercet.operations.up import prove  # noqa: PLC0415

        return await prove(session, emit if call.json else lambda _event: None)

    verdicts = with_progress(call, work)
    if call.json:
        call.print_json({"verdicts": verdicts_json(verdicts)})
    else:
        render_verdicts(verdicts, call.console)
    return broken(verdicts)
