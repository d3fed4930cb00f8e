"""`tercet status`: show every site, node and component as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform

if TYPE_CHECKING:
    from tercet.observe.snapshot import Snapshot
    from tercet.session.session import Session

WATCH_S = 2.0


@click.command(
    "status",
    cls=Command,
    help="show every site, node and component, with roles, lag, routes and leaders",
    section=Section.LOOK,
    order=1,
    examples=(
        ("tercet status", "a table for people"),
        ("tercet status --json", "the published schema, docs/status.schema.json"),
        ("tercet status --watch", "the tables again every two seconds"),
    ),
)
@click.option("--watch", is_flag=True, help=f"repeat every {WATCH_S:g} s until Ctrl-C")
@click.pass_obj
def cli(call: Invocation, *, watch: bool) -> int:
    """Exit 1 if something is not healthy."""

    async def work(session: Session) -> int:
        return await (_watch if watch else _once)(session, call)

    return on_platform(call, work)


async def _once(session: Session, call: Invocation) -> int:
    snapshot = await session.snapshot()
    if call.json:
        call.print_json(snapshot.model_dump())
    else:
        _draw(snapshot, call)
    return 0 if snapshot.healthy else 1


async def _watch(session: Session, call: Invocation) -> NoReturn:
    import asyncio  # noqa: PLC0415

    while True:
        snapshot = await session.snapshot()
        if call.json:
            call.print(snapshot.model_dump_json())
        else:
            call.console.clear()
            _draw(snapshot, call)
        await asyncio.sleep(WATCH_S)


def _draw(snapshot: Snapshot, call: Invocation) -> None:
    from tercet.cli.status_view import render_status  # noqa: PLC0415

    render_status(snapshot, call.console)
