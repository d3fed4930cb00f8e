"""`tercet exec NODE -- CMD…`: run a command on a node."""

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
    """Becomes the command: its input, output and exit status are the caller's."""
    session = session_of(call)
    line = session.provider.shell(node_of(session, arguments.node), call.rest)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do


command = Command(
    name="exec",
    summary="run a command on a node",
    section=Section.LOOK,
    order=2,
    run=run,
    arguments=arguments,
    rest="CMD…",
    examples=(
        ("tercet exec db-sib-01 -- patronictl -c /etc/patroni/patroni.yml list", "the database cluster"),
        ("tercet exec apps-fsn-01 -- journalctl -fu consul-template", "follow a unit's log"),
    ),
)
