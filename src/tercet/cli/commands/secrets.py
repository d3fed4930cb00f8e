"""`tercet secrets`: the file of generated passwords and certificates beside the inventory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tercet.cli.command import Group, Section
from tercet.cli.invocation import Invocation
from tercet.cli.opened import on_platform, with_progress
from tercet.errors import TercetError

if TYPE_CHECKING:
    from tercet.converge.plan import Plan
    from tercet.session.session import Session

cli = Group(
    "secrets",
    section=Section.INVENTORY,
    order=5,
    help="list, show and change the generated passwords and certificates",
)


@cli.command(
    "list",
    help="list their names, and who can read the file",
    examples=(("tercet secrets list", "without their values"), ("tercet --json secrets list", "for a program")),
)
@click.pass_obj
def list_(call: Invocation) -> int:
    """Exit 1 if there is no file or this operator cannot read it."""
    from tercet.inventory.secrets import present, recipients  # noqa: PLC0415

    path = _file(call)
    readers, names = recipients(path), present(path)
    if call.json:
        call.print_json({"file": str(path), "recipients": readers, "names": names})
        return 0
    for name in names:
        call.print(name)
    encrypted = f"encrypted for {', '.join(readers)}" if readers else "not encrypted; only its owner may read it"
    call.print(f"\n{path} is {encrypted}.")
    return 0


@cli.command(
    "show",
    help="print a secret",
    examples=(("tercet secrets show postgres_application", "the application's password"),),
)
@click.argument("name", metavar="NAME", help="its name, as `tercet secrets list` shows it")
@click.pass_obj
def show(call: Invocation, name: str) -> int:
    """Print the value and nothing else."""
    from tercet.inventory.secrets import peek, present  # noqa: PLC0415

    path = _file(call)
    if name not in (names := present(path)):
        raise TercetError(f"expected the name of a secret in {path}, found {name}: it has {', '.join(names) or 'none'}")
    call.print(peek(path).texts[name].rstrip("\n"))
    return 0


@cli.command(
    "set",
    help="write a password of your own into the file, before the first `tercet up`",
    examples=(("tercet secrets set proxy_admin", "ask for it, or read it from standard input"),),
)
@click.argument("name", metavar="NAME", help="its name, as `tercet secrets list` shows it")
@click.pass_obj
def set_(call: Invocation, name: str) -> int:
    """Read the password without an echo if there is a terminal. Exit 1 if there is no such password, or if the platform
    exists: it would refuse the file, and the old password would be lost.
    """
    from tercet.inventory.secrets import owner, set_passwords  # noqa: PLC0415

    path = _file(call)
    if (platform := owner(path)) and (made := on_platform(call, _containers)):
        raise TercetError(
            f"expected secrets that no platform uses yet, found {made} containers of {platform}: it would refuse the "
            "file. `tercet secrets rotate` replaces passwords of a running platform. Nothing was changed"
        )
    value = click.prompt(name, hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else sys.stdin.read()
    set_passwords(path, {name: value.rstrip("\n")})
    call.print(f"Wrote {name} into {path}.")
    return 0


@cli.command(
    "rotate",
    help="replace passwords, tokens, gossip keys and certificates of the running platform by new ones",
    examples=(
        ("tercet secrets rotate postgres_replication", "the password with which standbys log in at the primary"),
        ("tercet secrets rotate consul_ca nomad_ca", "certificate authorities, and the certificates of all nodes"),
        ("tercet secrets rotate --all", "all that can be changed on a running platform, as when an operator leaves"),
    ),
    interrupted="Run it again to continue: until it is complete, the platform accepts the old and the new file.",
)
@click.argument("names", metavar="[NAME]…", nargs=-1, help="their names, as `tercet secrets list` shows them")
@click.option("--all", "every", is_flag=True, help="all that can be changed on a running platform")
@click.pass_obj
def rotate_(call: Invocation, names: tuple[str, ...], *, every: bool) -> int:
    """Exit 0 if the new secrets are in force everywhere."""
    from tercet.cli.render import render_plan  # noqa: PLC0415
    from tercet.operations.rotate import chosen, rotatable, rotate  # noqa: PLC0415

    if every == bool(names):
        raise TercetError(f"expected names or --all, found {'both' if every else 'neither'}: see `tercet secrets list`")
    wanted = rotatable() if every else chosen(names)

    def show(plan: Plan) -> None:
        if not call.json:
            render_plan(plan, call.console)

    done = with_progress(call, lambda session, emit: rotate(session, wanted, emit, show))
    if call.json:
        call.print_json({"rotated": list(done)})
    else:
        call.print(f"Replaced: {', '.join(done)}. Copy {_file(call)} to the other operators.")
    return 0


async def _containers(session: Session) -> int:
    """How many containers the platform may have."""
    return len(await session.provider.destroy_plan())


def _file(call: Invocation) -> Path:
    from tercet.session.files import secrets_file  # noqa: PLC0415

    path = secrets_file(call.file)
    if not path.exists():
        raise TercetError(f"expected the platform's secrets in {path}, found no such file: `tercet up` makes it")
    return path
