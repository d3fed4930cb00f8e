"""Shared by the commands on a platform: opening it, working with progress, and the exit status of a proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

import click

from tercet.cli import prompt
from tercet.cli.complete import node_names, site_names
from tercet.cli.invocation import Invocation
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.observe.verify import Verdict
    from tercet.session.session import Session

T = TypeVar("T")

node_argument = click.argument(
    "node", metavar="NODE", shell_complete=node_names, help="a node's name, as `tercet status` shows it"
)
site_argument = click.argument(
    "site", metavar="SITE", shell_complete=site_names, help="a site's name, as `tercet status` shows it"
)
destroy_option = click.option(
    "--destroy",
    metavar="NODE",
    multiple=True,
    help="remove the container of this node and its DATABASE; the inventory no longer has the node",
)


def on_platform(call: Invocation, work: Callable[[Session], Awaitable[T]]) -> T:
    """Open the platform of the inventory, do the work, and always close the platform. A command calls this once."""
    from tercet.cli.waiting import wait  # noqa: PLC0415
    from tercet.session.session import open_session  # noqa: PLC0415

    async def run() -> T:
        async with open_session(call.file, provider=call.provider) as session:
            return await work(session)

    return wait(run())


def with_progress(call: Invocation, work: Callable[[Session, Emit], Awaitable[T]]) -> T:
    """The same for work that is a single procedure: its progress is shown while it runs."""

    async def shown(session: Session) -> T:
        with progress_of(call) as emit:
            return await work(session, emit)

    return on_platform(call, shown)


def progress_of(call: Invocation) -> AbstractContextManager[Emit]:
    """Show the events of a procedure on standard error while it runs.

    Standard output gets only the command's result. With --json, the events are JSON lines.
    """
    from tercet.cli.progress import progress  # noqa: PLC0415

    return progress(call.errors, as_json=call.json, verbose=call.verbose)


def node_of(session: Session, name: str) -> str:
    """Return the name if it is a node's, including nodes of lost sites. Raises TercetError with all names otherwise."""
    names = [node.name for node in (*session.platform.containers, *session.platform.lost_nodes)]
    if name not in names:
        raise TercetError(f"there is no node {name}: expected one of {', '.join(names)}")
    return name


async def confirm(what: str, name: str) -> None:
    """Continue only if the name is typed. Raises TercetError otherwise, and if there is no terminal to ask on."""
    if not prompt.somebody_is_here():
        raise TercetError(f"{what}: no terminal to ask on. Add --yes to do it without a question")
    said = await prompt.typed(f"{what}. Type {name} to continue: ")
    if said != name:
        raise TercetError(f"expected {name}, found {said or 'nothing'}: nothing was changed")


def broken(verdicts: Sequence[Verdict]) -> int:
    """The exit status of a proof: 1 if a promise is broken."""
    return 1 if any(verdict.broken for verdict in verdicts) else 0
