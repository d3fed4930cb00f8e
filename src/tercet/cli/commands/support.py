"""`tercet support`: logs, configurations and states of all nodes as one archive, without secrets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import with_progress

if TYPE_CHECKING:
    from tercet.converge.events import Emit
    from tercet.session.session import Session


@click.command(
    "support",
    cls=Command,
    help="write logs, configuration, state and versions of all nodes into one archive, without secrets",
    section=Section.PROOF,
    order=5,
    examples=(
        ("tercet support", "tercet-support-TIME.tar.gz, which only you can read"),
        ("tercet support -o case-12.tar.gz", "under another name"),
    ),
    interrupted="No archive was written.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="the archive; default: tercet-support-TIME.tar.gz",
)
@click.pass_obj
def cli(call: Invocation, output: Path | None) -> int:
    """A node that does not answer is named and left out. This is not an error."""
    path: Path = output or Path(f"tercet-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")

    async def work(session: Session, emit: Emit) -> tuple[str, ...]:
        from tercet.operations.support.bundle import write_bundle  # noqa: PLC0415

        return await write_bundle(session, path, emit)

    missing = with_progress(call, work)
    if call.json:
        call.print_json({"file": str(path), "missing": list(missing)})
    else:
        for line in missing:
            call.print(f"not in it: {line}")
        call.print(
            f"Wrote {path}. The secrets that tercet knows are not in it, but read it before you give it to anyone."
        )
    return 0
