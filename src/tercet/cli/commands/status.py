"""`tercet status`: every site, node and component as they are now."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import session_of

if TYPE_CHECKING:
    from tercet.observe.snapshot import Snapshot
    from tercet.operations.session import Session

WATCH_S = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """--watch."""
    parser.add_argument("--watch", action="store_true", help=f"look again every {WATCH_S:g} s until Ctrl-C")


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Exit 1 if something is not healthy."""
    from tercet.cli.waiting import wait  # noqa: PLC0415

    session = session_of(call)
    return wait(_watch(session, call) if arguments.watch else _once(session, call))


async def _once(session: Session, call: Invocation) -> int:
    import asyncio  # noqa: PLC0415

    if call.json:
        snapshot = await _look(session)
        call.print_json(snapshot.model_dump())
    else:
        # What draws the tables takes 0.04 s to import: that is done while the nodes answer.
        snapshot, _ = await asyncio.gather(_look(session), asyncio.to_thread(import_module, "tercet.cli.status_view"))
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


command = Command(
    name="status",
    summary="every site, node and component, roles, lag, routes, leaders",
    section=Section.LOOK,
    order=1,
    run=run,
    arguments=arguments,
    examples=(
        ("tercet status", "a table for people"),
        ("tercet status --json", "the published schema, docs/status.schema.json"),
        ("tercet status --watch", "again every two seconds"),
    ),
)
