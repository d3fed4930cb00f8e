"""`tercet plan`: what would change, where and why."""

from __future__ import annotations

import argparse

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import session_of

CHANGES_PENDING = 2


def run(_arguments: argparse.Namespace, call: Invocation) -> int:
    """Exit 0 when there is nothing to change, 2 when there is."""
    from tercet.cli.render import plan_json, render_plan  # noqa: PLC0415
    from tercet.cli.waiting import wait  # noqa: PLC0415
    from tercet.operations.change import make_plan  # noqa: PLC0415

    plan = wait(make_plan(session_of(call)))
    if call.json:
        call.print_json(plan_json(plan))
    else:
        render_plan(plan, call.console)
    return 0 if plan.empty else CHANGES_PENDING


command = Command(
    name="plan",
    summary="every change that is needed, with its node and reason; exit 2 if there is one",
    section=Section.PLATFORM,
    order=2,
    run=run,
    examples=(("tercet plan", "look before you apply"), ("tercet plan --json", "the same for a program")),
)
