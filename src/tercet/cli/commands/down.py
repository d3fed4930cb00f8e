"""`tercet down`: destroy what `tercet up` made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import confirm, on_platform, progress_of

if TYPE_CHECKING:
    from tercet.session.session import Session


@click.command(
    "down",
    cls=Command,
    help="destroy everything that `up` made of this platform, including its databases",
    section=Section.PLATFORM,
    order=4,
    examples=(("tercet down", "asks for the platform's name first"), ("tercet down --yes", "for scripts")),
    interrupted="A part may be gone. `tercet down` removes the rest; `tercet up` makes the platform again.",
)
@click.option("--yes", is_flag=True, help="do not ask; the databases of this platform are destroyed")
@click.pass_obj
def cli(call: Invocation, *, yes: bool) -> int:
    """List what will be destroyed, ask, then destroy it. The image cache, the inventory and its secrets stay."""
    from tercet.operations.up import down  # noqa: PLC0415

    async def work(session: Session) -> int:
        name = session.platform.name
        destroy_plan = await session.provider.destroy_plan()
        for change in destroy_plan:
            call.errors.print(f"{change.verb} {change.what}: {change.reason}", soft_wrap=True)
        if not yes:
            await confirm(f"`tercet down` destroys platform {name} with its databases", name)
        with progress_of(call) as emit:
            await down(session, emit)
        if not call.json:
            end = f"Platform {name} is gone" if destroy_plan else f"There was no container of platform {name}"
            call.print(f"{end}. Images, the inventory and its secrets stay.")
        return 0

    return on_platform(call, work)
