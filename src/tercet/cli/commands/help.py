"""`tercet help [COMMAND…]`: the same as `tercet [COMMAND…] --help`."""

from __future__ import annotations

import click

from tercet.cli.command import Command


@click.command(
    "help",
    cls=Command,
    help="how tercet, or a command of it, is used",
    hidden=True,
    examples=(("tercet help drill run", "the same as `tercet drill run --help`"),),
)
@click.argument("words", metavar="[COMMAND…]", nargs=-1, help="a command, with that of its group")
@click.pass_context
def cli(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Understands the words as they would be without `help`, so that a wrong one is answered as there."""
    tercet = ctx.find_root().command
    with tercet.make_context("tercet", [*words, "--help"], obj=ctx.obj) as context:
        tercet.invoke(context)
    return 0
