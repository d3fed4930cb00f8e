"""`tercet completion SHELL`: the script with which a shell completes commands, options and names."""

from __future__ import annotations

import click

from tercet.cli.command import Command, Section
from tercet.cli.invocation import COMPLETE, Invocation


@click.command(
    "completion",
    cls=Command,
    help="print the script with which your shell completes commands, options, nodes, sites and drills",
    section=Section.INVENTORY,
    order=5,
    examples=(
        ('eval "$(tercet completion bash)"', "in ~/.bashrc"),
        ('eval "$(tercet completion zsh)"', "in ~/.zshrc, after compinit"),
        ("tercet completion fish > ~/.config/fish/completions/tercet.fish", "once"),
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), help="the shell that will read it")
@click.pass_context
def cli(ctx: click.Context, shell: str) -> int:
    """Only prints the script; it needs no inventory."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    call: Invocation = ctx.obj
    kind = get_completion_class(shell)
    if kind is None:
        raise TypeError(f"click knows no completion for {shell}")
    call.print(kind(ctx.find_root().command, {}, "tercet", COMPLETE).source())
    return 0
