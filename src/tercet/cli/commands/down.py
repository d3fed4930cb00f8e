"""`tercet down`: destroy what `up` made."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import session_of, with_progress
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.operations.session import Session


def arguments(parser: argparse.ArgumentParser) -> None:
    """--yes."""
    parser.add_argument("--yes", action="store_true", help="do not ask; the databases of this platform are destroyed")


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Say what is destroyed, ask, then do it. The image cache, the inventory and its secrets stay."""
    from tercet.cli.waiting import wait  # noqa: PLC0415

    session = session_of(call)
    name = session.platform.name
    doomed = wait(session.provider.doomed())
    for change in doomed:
        call.errors.print(f"{change.verb} {change.what}: {change.reason}", soft_wrap=True)
    if not arguments.yes:
        _ask(name)

    async def work(session: Session, emit: Emit) -> None:
        from tercet.operations.up import down  # noqa: PLC0415

        await down(session, emit)

    with_progress(call, work)
    if not call.json:
        end = f"Platform {name} is gone" if doomed else f"There was no container of platform {name}"
        call.print(f"{end}. Images, the inventory and its secrets stay.")
    return 0


def _ask(name: str) -> None:
    if not sys.stdin.isatty():
        raise TercetError(
            f"`tercet down` destroys platform {name} with its databases: say --yes, nobody is here to ask"
        )
    said = input(f"This destroys platform {name} with its databases. Type its name to go on: ")
    if said.strip() != name:
        raise TercetError(f"expected {name}, found {said.strip() or 'nothing'}: nothing was destroyed")


command = Command(
    name="down",
    summary="destroy what `up` made of this platform, its databases included",
    section=Section.PLATFORM,
    order=4,
    run=run,
    arguments=arguments,
    examples=(("tercet down", "asks for the platform's name first"), ("tercet down --yes", "for scripts")),
    interrupted="A part may be gone; `tercet down` finishes, `tercet up` raises it again.",
)
