"""`tercet consul recover SITE`: starts a datacenter's dead Consul server again, which only a person may decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Group, Section
from tercet.cli.complete import site_names
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.session.session import Session


cli = Group("consul", section=Section.PROOF, order=4, help="bring back a datacenter's dead Consul server")


@cli.command(
    "recover",
    help="start a site's Consul server with empty data",
    examples=(("tercet consul recover sib-03", "after the server of dc2 has lost its data"),),
)
@click.argument(
    "site",
    metavar="SITE",
    shell_complete=site_names,
    help="the site of the Consul server",
)
@click.option("--force", is_flag=True, help="even if its datacenter works; the catalogue and the KV store are lost")
@click.pass_obj
def recover_(call: Invocation, site: str, *, force: bool) -> int:
    """Refuses a datacenter that works."""

    async def work(session: Session, emit: Emit) -> str:
        from tercet.operations.recover import recover  # noqa: PLC0415

        return await recover(session, site, emit, force=force)

    leader = with_progress(call, work)
    if call.json:
        call.print_json({"site": site, "leader": leader})
    else:
        call.print(
            f"{leader} leads its datacenter again. Its old catalogue and KV store are gone; agents have registered."
        )
    return 0
