"""`tercet psql SITE`: the application's own connection string at a site."""

from __future__ import annotations

import argparse
import os
import sys

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import session_of
from tercet.errors import TercetError


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE."""
    parser.add_argument("site", metavar="SITE", help="a site's name, as `tercet status` shows it")


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Becomes psql on the site's apps node, through the proxy."""
    from tercet.inventory.platform import Role  # noqa: PLC0415
    from tercet.operations.connect import psql_line  # noqa: PLC0415

    session = session_of(call)
    names = [site.name for site in session.platform.sites]
    if arguments.site not in names:
        raise TercetError(f"there is no site {arguments.site}: expected one of {', '.join(names)}")
    line = session.provider.shell(session.platform.at(arguments.site, Role.APPS).name, psql_line(session, call.rest))
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do


command = Command(
    name="psql",
    summary="psql through the application's connection string at a site",
    section=Section.LOOK,
    order=4,
    run=run,
    arguments=arguments,
    rest="PSQL OPTIONS…",
    rest_optional=True,
    examples=(
        ("tercet psql sib-03", "interactive; reads stay at sib-03"),
        ("tercet psql fsn-01 -- -c 'SELECT inet_server_addr()'", "which database answers a read in Falkenstein"),
    ),
)
