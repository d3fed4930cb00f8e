"""`tercet status`: every site, node and component as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import session_of

if TYPE_CHECKING:
    from tercet.observe.snapshot import Snapshot
    from tercet.operations.session import Session

WATCH_S = 2.0


@click.command(
    "status",
    cls=Command,
    help="every site, node and component, roles, lag, routes, leaders",
    section=Section.LOOK,
    order=1,
    examples=(
        ("tercet status", "a table for people"),
        ("tercet status --json", "the published schema, docs/status.schema.json"),
        ("tercet status --watch", "again every two seconds"),
    ),
)
@click.option("--watch", is_flag=True, help=f"look again every {WATCH_S:g} s until Ctrl-C")
@click.pass_obj
def cli(call: Invocation, *, watch: bool) -> int:
    """Exit 1 if something is not healthy."""
    from tercet.cli.waiting import wait  # noqa: PLC0415

    session = session_of(call)
    return wait(_watch(session, call) if watch else _once(session, call))


async def _once(session: Session, call: Invocation) -> int:
    snapshot = await _look(session)
    if call.json:
        call.print_json(snapshot.model_dump())
    else:
        _draw(snapshot, call)
    return 0 if snapshot.healthy else 1


async def _watch(session: Session, call: Invocation) -> NoReturn:
    import asyncio  # noqa: PLC0415

    while True:
        snapshot = await _look(session)
        if call.json:
            call.print(snapshot.model_dump_json())
        else:
            call.console.clear()
            _draw(snapshot, call)
        await asyncio.sleep(WATCH_S)  # the pause between two looks is what was asked for


async def _look(session: Session) -> Snapshot:
    from tercet.observe.snapshot import look  # noqa: PLC0415

    return await look(session.platform, session.components, session.provider, proxy_reason=session.proxy_reason)


def _draw(snapshot: Snapshot, call: Invocation) -> None:
    from tercet.cli.status_view import render_status  # noqa: PLC0415

    render_status(snapshot, call.console)
