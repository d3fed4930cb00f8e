"""`tercet aside`: database files that could not be rewound and were moved aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Group, Section
from tercet.cli.complete import node_names
from tercet.cli.invocation import Invocation
from tercet.cli.opened import confirm, node_of, on_platform

if TYPE_CHECKING:
    from tercet.session.session import Session


cli = Group(
    "aside",
    section=Section.PROOF,
    order=6,
    help="list or remove database files that could not be rewound and were moved aside",
)


@cli.command(
    "list",
    help="list them: node, name, size, reason, and until when they are kept",
    examples=(("tercet aside list", "on all database nodes"), ("tercet --json aside list", "for a program")),
)
@click.pass_obj
def list_(call: Invocation) -> int:
    """Exit 1 if a database node does not answer."""
    from tercet.components.patroni.status import aside_lines  # noqa: PLC0415
    from tercet.operations.aside import listed  # noqa: PLC0415
    from tercet.tables import say  # noqa: PLC0415

    found = on_platform(call, listed)
    if call.json:
        call.print_json([each.model_dump() for each in found])
    elif found:
        for line in aside_lines(found):
            say(call.console, line)
    else:
        call.print("Nothing was moved aside.")
    return 0


@cli.command(
    "remove",
    help="remove them now, before their time; asks first",
    examples=(("tercet aside remove db-sib-01 tercet.aside-20261126T162300Z-timeline-3", "asks for the name first"),),
    interrupted="Some files may be gone already; run the command again to remove the rest.",
)
@click.argument(
    "node", metavar="NODE", shell_complete=node_names, help="the database node, as `tercet aside list` shows it"
)
@click.argument("name", metavar="NAME", help="the files' name, as `tercet aside list` shows it")
@click.option("--yes", is_flag=True, help="do not ask; the files are removed permanently")
@click.pass_obj
def remove_(call: Invocation, node: str, name: str, *, yes: bool) -> int:
    """Say what will be removed, ask, then remove it."""
    from tercet.operations.aside import find, remove  # noqa: PLC0415
    from tercet.tables import day, size  # noqa: PLC0415

    async def work(session: Session) -> int:
        found = await find(session, node_of(session, node), name)
        what = f"{size(found.bytes)} of database files that were moved aside on {found.node} at {day(found.moved)}"
        if not yes:
            await confirm(f"This permanently removes {what}", found.name)
        await remove(session, found)
        if call.json:
            call.print_json({"node": found.node, "name": found.name, "bytes": found.bytes})
        else:
            call.print(f"Removed {what}.")
        return 0

    return on_platform(call, work)
