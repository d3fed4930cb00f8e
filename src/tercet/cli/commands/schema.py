"""`tercet schema`: the inventory's JSON Schema, for editors."""

from __future__ import annotations

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation


@click.command(
    "schema",
    cls=Command,
    help="print the inventory's JSON Schema, for editors",
    section=Section.INVENTORY,
    order=3,
    examples=(("tercet schema > tercet.schema.json", "for the first line of tercet.yml"),),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Print the schema. This needs no inventory."""
    from tercet.inventory.schema import schema  # noqa: PLC0415

    call.print_json(schema())
    return 0
