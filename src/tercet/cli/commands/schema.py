"""`tercet schema`: the inventory's JSON Schema, for editors."""

from __future__ import annotations

import argparse

from tercet.cli.command import Command, Invocation, Section


def run(_arguments: argparse.Namespace, call: Invocation) -> int:
    """Print the schema; it needs no inventory."""
    from tercet.inventory.schema import schema  # noqa: PLC0415

    call.print_json(schema())
    return 0


command = Command(
    name="schema",
    summary="print the inventory's JSON Schema, for editors",
    section=Section.INVENTORY,
    order=3,
    run=run,
    examples=(("tercet schema > tercet.schema.json", "for the first line of tercet.yml"),),
)
