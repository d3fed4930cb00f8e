"""`tercet validate`: check only the inventory, and report every error with its file and line."""

from __future__ import annotations

import dataclasses

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation


@click.command(
    "validate",
    cls=Command,
    help="check only the inventory; report every error with file and line",
    section=Section.INVENTORY,
    order=2,
    examples=(
        ("tercet validate", "check tercet.yml"),
        ("tercet validate -f staging.yml --json", "the same for a script: valid, and problems by line"),
    ),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Load the inventory and check that the programs exist that it names by a path. Check nothing else."""
    from tercet.inventory.load import load  # noqa: PLC0415
    from tercet.inventory.problems import InventoryError  # noqa: PLC0415

    try:
        platform = load(call.file, provider=call.provider, look=True)
    except InventoryError as error:
        if not call.json:
            raise
        problems = [dataclasses.asdict(problem) for problem in error.problems]
        call.print_json({"file": str(call.file), "valid": False, "problems": problems})
        return 1
    if call.json:
        call.print_json({"file": str(call.file), "valid": True, "problems": []})
    else:
        sites = ", ".join(site.name for site in platform.sites)
        call.print(
            f"{call.file} is valid: platform {platform.name}, {len(platform.nodes)} nodes at {sites}, "
            f"provider {platform.settings.provider}."
        )
    return 0
