"""`tercet recover …`: repairs the platform when it has lost what it needs for its own decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tercet.cli import prompt
from tercet.cli.command import Group, Section
from tercet.cli.complete import node_names
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform, progress_of
from tercet.cli.recover_sites import rejoin, site_alone
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.observe.reach import Databases, Reach
    from tercet.operations.recover_dcs import DcsState
    from tercet.session.session import Session


cli = Group("recover", section=Section.PROOF, order=5, help="repair the platform when a quorum or its data is lost")
cli.add_command(site_alone)
cli.add_command(rejoin)


@cli.command(
    "dcs",
    help="choose the primary by what each database node has, after all servers of dcs lost their data",
    examples=(
        ("tercet recover dcs", "shows what each node has, then asks"),
        ("tercet recover dcs --yes", "for scripts; refuses if a write could be lost"),
        ("tercet recover dcs --leader db-fsn-01", "choose another node than the one with the most WAL"),
    ),
    interrupted="Databases may be stopped. Run `tercet recover dcs` again to continue.",
)
@click.option(
    "--leader",
    "wanted",
    metavar="NODE",
    shell_complete=node_names,
    help="the database node that becomes primary; default: the one with the most WAL",
)
@click.option("--yes", is_flag=True, help="do not ask if no acknowledged write can be lost")
@click.option(
    "--confirm",
    "confirmed",
    metavar="NODE",
    shell_complete=node_names,
    help="do not ask even if one can be lost: the name of the new primary",
)
@click.pass_obj
def dcs(call: Invocation, wanted: str | None, confirmed: str | None, *, yes: bool) -> int:
    """Show what each database node has, ask, then bring dcs back."""
    from tercet.cli.recover_view import render_survey, survey_json  # noqa: PLC0415
    from tercet.operations.recover_dcs import examine, recover_dcs  # noqa: PLC0415

    async def work(session: Session) -> int:
        with progress_of(call) as emit:
            found = await examine(session, emit)
        if found.fine:
            return _nothing(call, found)
        leader = None
        if not found.decided:
            leader = found.survey.of(wanted) if wanted else found.survey.best()
            if not call.json:
                render_survey(found.survey, leader, call.errors)
            await confirm(found.survey, leader, found.unsure, yes=yes, confirmed=confirmed)
        with progress_of(call) as emit:
            done = await recover_dcs(session, leader.node if leader else None, found.survey, emit)
        if done is None:
            return _nothing(call, found)
        if call.json:
            call.print_json({"changed": True, "leader": done.leader, "lost": done.lost, **survey_json(found.survey)})
        else:
            call.print(f"{done.leader} leads, and dcs knows the cluster again. `tercet status` shows the rest.")
        return 0

    return on_platform(call, work)


def _nothing(call: Invocation, found: DcsState) -> int:
    if call.json:
        call.print_json({"changed": False, "leader": found.named or None})
    else:
        call.print(f"dcs works: {found.leader} leads its servers, and it knows the cluster. Nothing was changed.")
    return 0


async def confirm(survey: Databases, leader: Reach, unsure: str | None, *, yes: bool, confirmed: str | None) -> None:
    """Raises TercetError unless the operator agreed to this leader, knowing what can be lost."""
    risk = unsure
    if leader.node != survey.best().node and any(survey.lost(leader).values()):
        risk = f"other nodes have WAL that {leader.node} does not have"
    if confirmed not in (None, leader.node):
        raise TercetError(f"--confirm says {confirmed}, but {leader.node} would lead: nothing was changed")
    if confirmed or (yes and not risk):
        return
    if not prompt.somebody_is_here():
        remedy = (
            f"Acknowledged writes can be lost, because {risk}. Add --confirm {leader.node}" if risk else "Add --yes"
        )
        raise TercetError(
            f"{leader.node} would lead, but there is no terminal to ask on: nothing was changed. {remedy} to do it"
        )
    loses = f" Acknowledged writes can be lost: {risk}." if risk else " No acknowledged write is lost."
    said = await prompt.typed(f"{leader.node} will lead, the others will follow it.{loses} Type its name to continue: ")
    if said != leader.node:
        raise TercetError(f"expected {leader.node}, found {said or 'nothing'}: nothing was changed")
