"""`tercet shell NODE`: a login shell on a node."""

from __future__ import annotations

import argparse
import os
import sys

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import node_of, session_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """NODE."""
    parser.add_argument("node", metavar="NODE", help="a node's name, as `tercet status` shows it")


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Becomes the shell."""
    session = session_of(call)
    line = session.provider.shell(node_of(session, arguments.node))
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do


command = Command(
    name="shell",
    summary="a login shell on a node",
    section=Section.LOOK,
    order=3,
    run=run,
    arguments=arguments,
    examples=(("tercet shell db-sib-01", "as root, in its container"),),
)
