"""`tercet shell NODE`: a login shell on a node."""

from __future__ import annotations

import os
import sys

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import node_argument, node_of, session_of


@click.command(
    "shell",
    cls=Command,
    help="a login shell on a node",
    section=Section.LOOK,
    order=3,
    examples=(("tercet shell db-sib-01", "as root, in its container"),),
)
@node_argument
@click.pass_obj
def cli(call: Invocation, node: str) -> int:
    """Becomes the shell."""
    session = session_of(call)
    line = session.provider.shell(node_of(session, node))
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do
