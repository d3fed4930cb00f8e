"""A command of tercet: a click command with a place in `tercet --help`, examples, and the global options.

Global options may stand before and after the command: every level has them, and the later one wins. The command gets
everything after the first `--` unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tercet.cli.invocation import Invocation
from tercet.cli.refusals import explained

LAST = 50  # the order of a command that sets none
NAME = 12  # characters of a command's name in a list


class Section(Enum):
    """The sections of `tercet --help`, in this order."""

    INVENTORY = "The inventory"
    PLATFORM = "The platform"
    LOOK = "See and reach it"
    PROOF = "Prove and repair it"


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Put a global option from the command line into the Invocation of this level and of the levels below."""
    if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        ctx.obj = replace(ctx.obj or Invocation(), **{param.name: value})


def _option(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_remember, **settings)


GLOBALS = (
    _option(
        "-f", "--file", type=click.Path(path_type=Path), metavar="FILE", help="the inventory (default: tercet.yml)"
    ),
    _option(
        "--lab",
        "provider",
        is_flag=True,
        flag_value="lab",
        help="use the built-in lab instead of the inventory's provider",
    ),
    _option("--json", is_flag=True, help="print JSON"),
    _option("--no-color", "color", is_flag=True, flag_value=False, help="print without colours"),
    _option("-v", "--verbose", is_flag=True, help="print more details"),
)


class Command(click.Command):
    """A click command, and what it says about itself.

    `section` and `order` are its place in `tercet --help`; a command within a group needs neither. `examples` are pairs
    of a command line and its description. `rest` names the arguments after `--`, if the command takes any ("CMD…");
    they are then required unless `rest_optional`. `interrupted` describes the state after Ctrl-C. The callback gets the
    Invocation by `click.pass_obj` and returns the exit status.
    """

    def __init__(
        self,
        *args: Any,
        section: Section | None = None,
        order: int = LAST,
        examples: Sequence[tuple[str, str]] = (),
        rest: str = "",
        rest_optional: bool = False,
        interrupted: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.context_settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        taken = {name for param in self.params for name in param.opts}
        # A command may define --json differently.
        self.params += [option for option in GLOBALS if not taken.intersection(option.opts)]
        self.section = section
        self.order = order
        self.examples = examples
        self.rest = rest
        self.rest_optional = rest_optional
        self.interrupted = interrupted

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        rest = tuple(args[at + 1 :])
        try:
            left = super().parse_args(ctx, args[:at])
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click does not set it if an option lacks its value
            meant = isinstance(error, click.BadParameter) or getattr(error, "possibilities", None)
            if self.rest and not rest and not meant:
                raise click.UsageError(f"{error.format_message()} Arguments of the program go after --.", ctx) from None
            raise
        ctx.obj = replace(ctx.obj or Invocation(), rest=rest)
        if not ctx.resilient_parsing:
            if at < len(args) and not self.rest:
                ctx.fail("It takes nothing after --.")
            if self.rest and not rest and not self.rest_optional:
                ctx.fail(f"Expected {self.rest} after --, found nothing.")
        return left

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            stop.args = stop.args or (self.interrupted,)
            raise
        except OSError as error:
            message = None if ctx.obj.verbose else explained(error)
            if message is None:
                raise
            raise message from error

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        rest = [f"[-- {self.rest}]" if self.rest_optional else f"-- {self.rest}"] if self.rest else []
        return [*super().collect_usage_pieces(ctx), *rest]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        own = [param for param in params if isinstance(param, click.Option) and param not in GLOBALS]
        shared = [param for param in params if param in GLOBALS]
        for title, those in (("Options", own), ("Global options", shared)):
            records = [record for param in those if (record := param.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples. The description of each is next to it, or below if the line would be too wide."""
        if not self.examples:
            return
        first = max(len(line) for line, _ in self.examples)
        beside = all(first + len(does) + 5 <= formatter.width for _, does in self.examples)
        with formatter.section("Examples"):
            for line, does in self.examples:
                formatter.write(f"  {line:<{first}}   {does}\n" if beside else f"  {line}\n      {does}\n")


class Group(Command, click.Group):
    """A command with subcommands, such as `tercet drill`. Declare them with `@group.command(…)`."""

    command_class = Command

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, no_args_is_help=False, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return click.Group.parse_args(self, ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        return click.Group.invoke(self, ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their declaration."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError with the most similar name if there is no such command."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not ctx.resilient_parsing:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            path = ctx.command_path
            hint = f"Did you mean `{path} {close[0]}`?" if close else f"Expected one of {', '.join(known)}."
            ctx.fail(f"There is no command `{path} {name}`. {hint}")
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*click.Command.collect_usage_pieces(self, ctx), f"{'|'.join(self.list_commands(ctx))} …"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        list_commands(formatter, "Commands", list(self.commands.values()))


def list_commands(formatter: click.HelpFormatter, title: str, commands: Sequence[click.Command]) -> None:
    """Write a section of the help: the commands, each with its description."""
    with formatter.section(title):
        formatter.write_dl([(f"{command.name:<{NAME}}", command.help or "") for command in commands])
