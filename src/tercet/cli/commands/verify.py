"""`tercet verify`: the specification's promises, proven now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import broken, with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.observe.verify import Verdict
    from tercet.operations.session import Session


def run(_arguments: argparse.Namespace, call: Invocation) -> int:
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


command = Command(
    name="verify",
    summary="prove the specification's promises end to end; exit 1 if one does not hold",
    section=Section.PROOF,
    order=1,
    run=run,
    examples=(
        ("tercet verify", "leaders, replication, routes, a job in every datacenter, rows written and read back"),
    ),
)
