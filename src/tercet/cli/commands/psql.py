"""`tercet psql SITE`: run psql at a site, with the application's own connection string."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform, site_argument
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.session.session import Session


@click.command(
    "psql",
    cls=Command,
    help="run psql at a site, with the application's connection string",
    section=Section.LOOK,
    order=4,
    rest="PSQL OPTIONS…",
    rest_optional=True,
    examples=(
        ("tercet psql sib-03", "interactive; reads stay at sib-03"),
        ("tercet psql fsn-01 -- -c 'SELECT inet_server_addr()'", "which database answers a read in Falkenstein"),
    ),
)
@site_argument
@click.pass_obj
def cli(call: Invocation, site: str) -> int:
    """Replace this process by psql on the site's apps node, connected through the proxy."""
    from tercet.inventory.platform import Role  # noqa: PLC0415
    from tercet.session.connect import psql_line  # noqa: PLC0415

    async def way(session: Session) -> list[str]:
        names = [site.name for site in session.platform.sites]
        if site not in names:
            raise TercetError(f"there is no site {site}: expected one of {', '.join(names)}")
        return await session.provider.shell(session.platform.at(site, Role.APPS).name, psql_line(session, call.rest))

    line = on_platform(call, way)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - this process has nothing left to do
