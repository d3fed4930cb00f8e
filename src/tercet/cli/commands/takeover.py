"""`tercet takeover`: makes another machine ready to operate a platform that exists."""

from __future__ import annotations

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform
from tercet.errors import TercetError


@click.command(
    "takeover",
    cls=Command,
    help="check that this machine can operate a platform that another one made, and say what is missing",
    section=Section.INVENTORY,
    order=6,
    examples=(
        ("tercet takeover", "on the new machine: first it prints your public key, at the end it finds nothing missing"),
    ),
)
@click.pass_obj
def cli(call: Invocation) -> int:
    """Exit 1 with what to do next, until this machine has everything."""
    from tercet.inventory.sealing import own_recipient  # noqa: PLC0415
    from tercet.inventory.secrets import peek  # noqa: PLC0415
    from tercet.operations.takeover import silent_nodes  # noqa: PLC0415
    from tercet.session.files import known_hosts_file, lock_file, secrets_file  # noqa: PLC0415

    platform = call.platform()
    path = secrets_file(call.file)
    public = own_recipient()
    call.print(f"Your public key: {public}")
    if not path.exists():
        others = f"{lock_file(call.file).name} and {known_hosts_file(call.file).name}"
        raise TercetError(
            f"expected the secrets of platform {platform.name} in {path}, found no such file: let another operator add "
            f"your key to `secrets.recipients` and run `tercet apply`, and copy {path.name}, {others} from there"
        )
    peek(path)

    if silent := on_platform(call, silent_nodes):
        raise TercetError(f"expected every node to answer, found none from {', '.join(silent)}: see `tercet doctor`")
    call.print(f"This machine can operate the platform {platform.name}: it has its secrets, and every node answers.")
    return 0
