"""The options that the commands of `tercet drill` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

JOURNALS = Path("tercet-drills")
STDOUT = Path("-")

journals_option = click.option(
    "--journals",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=JOURNALS,
    help=f"the folder for journals; default: {JOURNALS}/",
)


def json_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--json with a file, or without one for standard output. `what` names the result that is written."""
    return click.option(
        "--json",
        "json_file",
        metavar="[FILE]",
        is_flag=False,
        flag_value=str(STDOUT),
        type=click.Path(path_type=Path),
        help=f"write {what} to FILE, or to standard output without FILE",
    )
