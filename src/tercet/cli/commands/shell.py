"""`tercet shell NODE`: a login shell on a node."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import node_argument, node_of, on_platform

if TYPE_CHECKING:
    from tercet.session.session import Session


@click.command(
    "shell",
    cls=Command,
    help="open a login shell on a node",
    section=Section.LOOK,
    order=3,
    examples=(("tercet shell db-sib-01", "as root, in its container"),),
)
@node_argument
@click.pass_obj
def cli(call: Invocation, node: str) -> int:
    """Replace this process by the shell."""

    async def way(session: Session) -> list[str]:
        return await session.provider.shell(node_of(session, node))

    line = on_platform(call, way)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do
