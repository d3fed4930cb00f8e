"""`tercet init`: write the default inventory."""

from __future__ import annotations

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.errors import TercetError


@click.command(
    "init",
    cls=Command,
    help="write a commented tercet.yml with the specification's three sites",
    section=Section.INVENTORY,
    order=1,
    examples=(
        ("tercet init", "write tercet.yml here"),
        ("tercet init -f staging.yml", "write another inventory"),
    ),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Write the file, unless it exists."""
    from tercet.inventory.default import default_text  # noqa: PLC0415

    try:
        with call.file.open("x", encoding="utf-8") as file:
            file.write(default_text())
    except FileExistsError:
        if call.file.is_dir():
            raise TercetError(
                f"expected the name of a file, found the folder {call.file}: "
                f"name the file in it, such as -f {call.file / 'tercet.yml'}"
            ) from None
        raise TercetError(
            f"expected no file {call.file}, found one; it was not changed: "
            "edit it, or write another with `tercet init -f FILE`"
        ) from None
    except OSError as error:
        raise TercetError(
            f"expected to write {call.file}, found {error.strerror}: name a place where you may write with -f FILE"
        ) from None
    if call.json:
        call.print_json({"file": str(call.file)})
    else:
        option = "" if call.file.name == "tercet.yml" and call.file.parent.name == "" else f" -f {call.file}"
        call.print(f"Wrote {call.file}: three sites, nine containers, in the lab on this machine.")
        call.print(f"Read it, edit it if you like, then raise the platform: tercet up{option}")
        call.print("For completion in your editor, run in the same folder: tercet schema > tercet.schema.json")
    return 0
