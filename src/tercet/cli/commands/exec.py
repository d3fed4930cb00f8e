"""`tercet exec NODE -- CMD…`: run a command on a node."""

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
    "exec",
    cls=Command,
    help="run a command on a node",
    section=Section.LOOK,
    order=2,
    rest="CMD…",
    examples=(
        ("tercet exec db-sib-01 -- patronictl -c /etc/patroni/patroni.yml list", "the database cluster"),
        ("tercet exec apps-fsn-01 -- journalctl -fu consul-template", "follow a unit's log"),
    ),
)
@node_argument
@click.pass_obj
def cli(call: Invocation, node: str) -> int:
    """Replace this process by the command, which uses the caller's input and output; its exit status is returned."""

    async def way(session: Session) -> list[str]:
        return await session.provider.shell(node_of(session, node), call.rest)

    line = on_platform(call, way)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do
