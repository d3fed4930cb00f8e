"""Finds the commands: they are the modules of tercet.cli.commands. To add a command, add a file there.

A module is imported when its command is called; `tercet --help` and completion import them all.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from tercet import __version__
from tercet.cli import commands
from tercet.cli.command import Command, Group, Section, list_commands

START = (
    ("tercet init", "write a commented tercet.yml with three sites"),
    ("tercet up", "raise the platform and verify it"),
    ("tercet COMMAND --help", "show help and examples for a command"),
)


class Tercet(Group):
    """`tercet` itself: the group of all commands, each in its own file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, found without importing them."""
        return [module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:
        """Import the module of the command and return the command; None if there is none with that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        if not isinstance(module.cli, Command) or module.cli.name != cmd_name:
            raise TypeError(f"{module.__name__}.cli is no Command of the name {cmd_name}")
        return module.cli

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "COMMAND …"]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All commands by section, each section in its order."""
        found = [command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))]
        found.sort(key=lambda command: (command.order, command.name or ""))
        for section in Section:
            those = [command for command in found if command.section is section and not command.hidden]
            if those:
                list_commands(formatter, section.value, those)


tercet = Tercet(
    "tercet",
    help="Turn one inventory file into a running and proven three-datacenter PostgreSQL platform.",
    examples=START,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda ctx, _param, wanted: show_version(ctx) if wanted else None,
            help="print the version",
        )
    ],
)


def show_version(ctx: click.Context) -> None:
    """Print the version and exit with 0."""
    click.echo(f"tercet {__version__}")
    ctx.exit()
