"""`tercet recover site-alone` and `tercet recover rejoin`: giving up lost sites, and taking them back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet.cli import prompt
from tercet.cli.command import Command
from tercet.cli.complete import lost_names, site_names
from tercet.cli.invocation import Invocation
from tercet.cli.opened import broken, on_platform, progress_of, site_argument
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.session.session import Session


@click.command(
    "site-alone",
    cls=Command,
    help="all sites but one are lost for good: let this one take writes alone",
    examples=(
        ("tercet recover site-alone fsn-01", "shows what it has and what cannot be known, then asks"),
        ("tercet recover site-alone fsn-01 --confirm fsn-01", "for scripts"),
    ),
    interrupted="The site's database may be stopped. Run the same command again to continue.",
)
@site_argument
@click.option(
    "--confirm",
    "confirmed",
    metavar="SITE",
    shell_complete=site_names,
    help="the name of the remaining site again, instead of a question",
)
@click.pass_obj
def site_alone(call: Invocation, site: str, confirmed: str | None) -> int:
    """Show what the site has and what cannot be known, ask, then make the site work alone."""
    from tercet.cli.recover_view import alone_json, render_alone  # noqa: PLC0415
    from tercet.cli.verdicts import but_for, render_broken, verdicts_json  # noqa: PLC0415
    from tercet.operations import site_alone as operation  # noqa: PLC0415

    async def work(session: Session) -> int:
        with progress_of(call) as emit:
            found = await operation.examine(session, site, emit)
        operation.refuse(found)
        if not call.json:
            render_alone(found, call.errors)
        if not found.done:
            given_up = f"{', '.join(found.lost)} are given up until they are taken back; {found.doubt}"
            await confirm(confirmed, site, given_up)
        with progress_of(call) as emit:
            raised = await operation.site_alone(session, found, emit)
        if call.json:
            changed = not (found.done and raised.plan.empty)
            call.print_json({"changed": changed, **alone_json(found), "verdicts": verdicts_json(raised.verdicts)})
        else:
            render_broken(raised.verdicts, call.errors)
            call.print(
                f"{site} works alone{but_for(raised.verdicts)}. From now on, each write is on one disk only. `tercet "
                f"status` shows the rest. When the servers of the other sites work again: tercet recover rejoin"
            )
        return broken(raised.verdicts)

    return on_platform(call, work)


async def confirm(said: str | None, wanted: str, what: str) -> None:
    """Raises TercetError unless `said` is `wanted`, or `wanted` is typed. `what` is the statement to confirm."""
    if said is not None:
        if said != wanted:
            raise TercetError(f"expected --confirm {wanted}, found {said}: nothing was changed")
        return
    if not prompt.somebody_is_here():
        raise TercetError(f"{what}: no terminal to ask on, so nothing was changed. Add --confirm {wanted} to do it")
    typed = await prompt.typed(f"{what[0].upper()}{what[1:]}.\nType {wanted} to continue: ")
    if typed != wanted:
        raise TercetError(f"expected {wanted}, found {typed or 'nothing'}: nothing was changed")


@click.command(
    "rejoin",
    cls=Command,
    help="take lost sites back as standbys; their old data is moved aside",
    examples=(
        ("tercet recover rejoin", "all lost sites; first shows what only they had"),
        ("tercet recover rejoin sib-03", "one of them"),
        ("tercet recover rejoin --export lost-writes", "writes what only they had to a folder first"),
        ("tercet recover rejoin --confirm sib-01,sib-03", "for scripts"),
    ),
    interrupted="Run the same command again to continue.",
)
@click.argument(
    "sites", metavar="SITE", nargs=-1, shell_complete=lost_names, help="lost sites that are back; default: all"
)
@click.option(
    "--export",
    "to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="write what only they had to this folder, as WAL and text",
)
@click.option("--yes", is_flag=True, help="do not ask if the lost sites have no transactions of their own")
@click.option(
    "--confirm",
    "confirmed",
    metavar="SITES",
    help="do not ask even if they have: their names, with commas",
)
@click.pass_obj
def rejoin(call: Invocation, sites: tuple[str, ...], to: Path | None, confirmed: str | None, *, yes: bool) -> int:
    """Show what only the returned sites have, ask, then take them back."""
    from tercet.cli.recover_view import render_back, returned_json  # noqa: PLC0415
    from tercet.cli.verdicts import but_for, render_broken, verdicts_json  # noqa: PLC0415
    from tercet.operations import rejoin as operation  # noqa: PLC0415

    async def work(session: Session) -> int:
        with progress_of(call) as emit:
            found = await operation.examine(session, sites, emit)
        if found.sites:
            if not call.json:
                render_back(found, call.errors)
            if not (yes and not found.loses):
                beyond = f"; {found.loses}" if found.loses else ""
                kept = "the data of their databases and servers is moved aside on their disks"
                what = f"{', '.join(found.sites)} come back without their data: {kept}{beyond}"
                await confirm(confirmed, ",".join(found.sites), what)
        with progress_of(call) as emit:
            done = await operation.rejoin(session, found, to, emit)
        verdicts = done.raised.verdicts
        if call.json:
            exported = [str(path) for path in done.exported]
            result = {"changed": done.changed, "exported": exported, **returned_json(found)}
            call.print_json({**result, "verdicts": verdicts_json(verdicts)})
            return broken(verdicts)
        render_broken(verdicts, call.errors)
        for path in done.exported:
            call.print(f"What only {path.name} had is in {path}")
        proven = "" if broken(verdicts) else f" Every promise was proven{but_for(verdicts)}."
        if found.sites:
            verb = "is" if len(found.sites) == 1 else "are"
            call.print(f"{', '.join(found.sites)} {verb} back.{proven} What they had: tercet aside list")
        else:
            call.print(f"No site is lost.{proven}")
        return broken(verdicts)

    return on_platform(call, work)
