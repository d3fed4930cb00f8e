"""`tercet help [COMMAND…]`: the same as `tercet [COMMAND…] --help`."""

from __future__ import annotations

import click

from tercet.cli.command import Command


@click.command(
    "help",
    cls=Command,
    help="show how to use tercet or one of its commands",
    hidden=True,
    examples=(("tercet help drill run", "the same as `tercet drill run --help`"),),
)
@click.argument("words", metavar="[COMMAND…]", nargs=-1, help="a command, such as `drill run`")
@click.pass_context
def cli(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Handle the words as without `help`, so that a wrong word gives the same error."""
    tercet = ctx.find_root().command
    with tercet.make_context("tercet", [*words, "--help"], obj=ctx.obj) as context:
        tercet.invoke(context)
    return 0
