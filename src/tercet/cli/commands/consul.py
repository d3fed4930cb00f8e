"""`tercet consul recover SITE`: what a dead Consul server of a datacenter needs a person for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tercet.cli.command import Command, Invocation, Section
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.operations.session import Session


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE and --force."""
    parser.add_argument("site", metavar="SITE", help="the site whose Consul server is to start with empty data")
    parser.add_argument(
        "--force", action="store_true", help="even if its datacenter works; its catalogue and KV are lost"
    )


def run(arguments: argparse.Namespace, call: Invocation) -> int:
    """Refuses a datacenter that works."""

    async def work(session: Session, emit: Emit) -> str:
        from tercet.operations.recover import recover  # noqa: PLC0415

        return await recover(session, arguments.site, emit, force=arguments.force)

    leader = with_progress(call, work)
    if call.json:
        call.print_json({"site": arguments.site, "leader": leader})
    else:
        call.print(
            f"{leader} leads its datacenter again. Its old catalogue and KV store are gone; agents have registered."
        )
    return 0


command = Command(
    name="consul",
    summary="bring back a datacenter's dead Consul server",
    section=Section.PROOF,
    order=4,
    commands=(
        Command(
            name="recover",
            summary="start a site's Consul server with empty data",
            section=Section.PROOF,
            run=run,
            arguments=arguments,
            examples=(("tercet consul recover sib-03", "after the server of dc2 has lost its data"),),
        ),
    ),
)
