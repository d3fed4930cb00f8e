"""`tercet image`: what the nodes' image consists of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet import __version__
from tercet.cli.command import Group, Section
from tercet.cli.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tercet.image.later import Answers
    from tercet.image.parts import Contents, Part

cli = Group("image", section=Section.LOOK, order=5, help="list what the image of all nodes consists of")


@cli.command(
    "audit",
    help="list every program and package with version, source and sha256; compare the cache with the lock file",
    examples=(
        ("tercet image audit", "as tables; -v shows whole digests"),
        ("tercet image audit --later", "also ask for later versions"),
        ("tercet image audit --output image.cdx.json", "as CycloneDX 1.6, for scanners"),
    ),
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="write CycloneDX to FILE (--json prints it)",
)
@click.option("--later", is_flag=True, help="ask the package sources for later versions; needs a network")
@click.pass_obj
def audit(call: Invocation, output: Path | None, later: bool) -> int:
    """Exit 1 if the cache differs from the lock file. It is no error if a source does not answer --later."""
    from tercet.image.cache import write_atomically  # noqa: PLC0415
    from tercet.image.cyclonedx import document  # noqa: PLC0415
    from tercet.image.distributions import distributions  # noqa: PLC0415
    from tercet.image.elf import host_arch  # noqa: PLC0415
    from tercet.image.parts import contents  # noqa: PLC0415
    from tercet.session.files import lock_file  # noqa: PLC0415

    inventory = call.platform().settings
    found = contents(inventory, lock_file(call.file), host_arch())
    parts = (*found.parts, *distributions())
    answers = _asked(found, inventory.versions.debian) if later else None
    text = document(found.key, found.arch, __version__, parts, answers.later if answers else {})
    if output:
        write_atomically(output, text)
    if call.json:
        click.echo(text, nl=False) if not output else call.print_json({"file": str(output)})
    else:
        _show(call, found, parts, answers, output)
    unknown = answers.unknown if answers else ()
    for line in (*found.notes, *(f"not known: {each}" for each in unknown), *(f"✗ {each}" for each in found.problems)):
        click.echo(line, err=True)
    return 1 if found.problems else 0


def _show(
    call: Invocation, found: Contents, parts: Sequence[Part], answers: Answers | None, output: Path | None
) -> None:
    """The result for people: the tables, or only a line if they are in a file."""
    from tercet.cli.image_view import counted, render_later, render_parts  # noqa: PLC0415

    if not output:
        render_parts(parts, call.console, whole=call.verbose)
    if answers:
        render_later(parts, answers.later, call.console)
    call.print(f"{f'Wrote {output}: image' if output else 'Image'} {found.key}: {counted(parts)}.")


def _asked(found: Contents, suite: str) -> Answers:
    from tercet.cli.waiting import wait  # noqa: PLC0415
    from tercet.image.later import later_versions  # noqa: PLC0415

    return wait(later_versions(found, suite))
