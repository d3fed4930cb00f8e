"""`tercet version`: the same as `tercet --version`."""

from __future__ import annotations

import click

from tercet import __version__
from tercet.cli.command import Command
from tercet.cli.invocation import Invocation


@click.command(
    "version",
    cls=Command,
    help="print the version of tercet",
    hidden=True,
    examples=(("tercet version", "the same as `tercet --version`"),),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Print one line with the program's name and version."""
    call.print(f"tercet {__version__}")
    return 0
