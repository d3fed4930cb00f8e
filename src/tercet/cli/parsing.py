"""From words to a command and its options. Global options are understood before and after the command.

Everything after the first `--` belongs to the command, untouched. Usage errors leave with 1, not with
argparse's 2: to those who call `tercet plan`, 2 means that changes are pending.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from tercet import __version__
from tercet.cli.command import Command, Invocation, Section, UsageError
from tercet.cli.registry import command_names, find_command, find_subcommand

GLOBALS = {"file": Path("tercet.yml"), "lab": False, "json": False, "color": True, "verbose": False}
WORDS_FOR_OPTIONS = ("help", "version")  # `tercet help drill` is `tercet drill --help`
DESCRIPTION = "One inventory file in, a running and proven three-datacenter PostgreSQL platform out."


@dataclass(frozen=True)
class Parsed:
    """What is to be run."""

    command: Command
    arguments: argparse.Namespace
    invocation: Invocation


def parse(words: Sequence[str]) -> Parsed:
    """The command that the words name. UsageError says what is wrong; `--help` and `--version` print and exit."""
    words, rest = _split_rest(words)
    options, words = _split_options(words)
    given = vars(_Parser("tercet", version=True).understand(options))
    if not words:
        raise UsageError("expected a command, found none: `tercet --help` lists them")
    if words[0] in WORDS_FOR_OPTIONS:
        return parse([*options, *words[1:], f"--{words[0]}"])
    path, command, words = f"tercet {words[0]}", find_command(words[0]), words[1:]
    while command.commands:
        options, words = _split_options(words)
        given |= vars(_Parser(path, group=command).understand(options))
        if not words:
            names = ", ".join(each.name for each in command.commands)
            raise UsageError(f"expected one of {names} after `{path}`, found nothing: see `{path} --help`")
        path, command, words = f"{path} {words[0]}", find_subcommand(command, words[0], path), words[1:]
    parser = _Parser(path, command=command)
    arguments = parser.understand(words)
    if rest is not None and not command.rest:
        parser.error("it takes nothing after --")
    if command.rest and not rest and not command.rest_optional:
        parser.error(f"expected {command.rest} after --, found nothing")
    settings: dict[str, Any] = GLOBALS | given
    settings |= {key: value for key, value in vars(arguments).items() if key in GLOBALS}
    return Parsed(command, arguments, Invocation(**settings, rest=tuple(rest or ())))


def _split_rest(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """What stands before the first `--`, and what after it; None where there is no `--`."""
    if "--" not in words:
        return list(words), None
    at = list(words).index("--")
    return list(words[:at]), list(words[at + 1 :])


def _split_options(words: list[str]) -> tuple[list[str], list[str]]:
    """The options at the start, with the value of -f, and what begins with the next command's name."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        option = words[at]
        takes_next = option == "--file" or (not option.startswith("--") and option.find("f") == len(option) - 1)
        at += 2 if takes_next else 1
    return words[:at], words[at:]


class _Parser(argparse.ArgumentParser):
    """The parser of one level: of tercet itself, of a group of commands, or of a command with its arguments."""

    def __init__(
        self,
        path: str,
        *,
        group: Command | None = None,
        command: Command | None = None,
        version: bool = False,
    ) -> None:
        about = command or group
        super().__init__(
            prog=path,
            usage=None if command else f"{path} [OPTIONS] COMMAND …",
            description=about.summary if about else DESCRIPTION,
            formatter_class=_Formatter,
            conflict_handler="resolve",  # a command may give --json a meaning of its own
            allow_abbrev=False,
        )
        self._listed = group.commands if group else None
        self._about = about
        _add_globals(self)
        if version:
            self.add_argument("--version", action="version", version=f"tercet {__version__}")
        if command:
            command.arguments(self)

    def understand(self, words: Sequence[str]) -> argparse.Namespace:
        """`parse_args`, whose error also says what was probably meant."""
        arguments, unknown = self.parse_known_args(words)
        if unknown:
            self.error(f"unrecognized arguments: {shlex.join(unknown)}{self._meant(unknown)}")
        return arguments

    def _meant(self, unknown: Sequence[str]) -> str:
        for word in unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            close = get_close_matches(word.partition("=")[0], options, n=1, cutoff=0.75)
            if close and word.startswith("--"):
                return f": did you mean {close[0]}?"
        if self._about and self._about.rest:
            return f": what is for the program goes after --, so: -- {shlex.join(unknown)}"
        return ""

    def error(self, message: str) -> NoReturn:
        usage = self.format_usage().removeprefix("usage: ").strip()
        raise UsageError(f"{message}\nUsage: {usage}\nMore:  {self.prog} --help")

    def format_usage(self) -> str:
        usage = super().format_usage()
        if self._about and self._about.rest:
            rest = f"-- {self._about.rest}"
            usage = f"{usage.rstrip()} {f'[{rest}]' if self._about.rest_optional else rest}\n"
        return usage

    def format_help(self) -> str:
        """Argparse's, with the commands below the description and examples at the end."""
        if self._about is None:
            self.epilog = _overview(find_command(name) for name in command_names())
        elif self._listed:
            self.epilog = _listing("commands", self._listed)
        if self._about and self._about.examples:
            self.epilog = "\n\n".join(filter(None, (self.epilog, _examples(self._about.examples))))
        body = super().format_help()
        return body.replace(super().format_usage(), self.format_usage(), 1)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


def _add_globals(parser: argparse.ArgumentParser) -> None:
    """The global options. One that is not given leaves no trace, so that a later parser undoes no earlier one."""
    group = parser.add_argument_group("global options")

    def add(*names: str, **settings: Any) -> None:
        group.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add("-f", "--file", type=Path, metavar="FILE", help="the inventory (default: tercet.yml)")
    add("--lab", action="store_true", help="use the built-in lab, whatever provider the inventory names")
    add("--json", action="store_true", help="print JSON")
    add("--no-color", dest="color", action="store_false", help="print without colours")
    add("-v", "--verbose", action="store_true", help="say more")


def _overview(commands: Iterable[Command]) -> str:
    """All commands, by section, and how to begin."""
    known = sorted(commands, key=lambda command: (command.order, command.name))
    parts = [
        _listing(section.value, [command for command in known if command.section is section])
        for section in Section
        if any(command.section is section for command in known)
    ]
    start = (
        ("tercet init", "write tercet.yml: three sites, commented"),
        ("tercet up", "raise its platform and verify it"),
        ("tercet COMMAND --help", "more on a command, with examples"),
    )
    return "\n\n".join((*parts, _examples(start)))


def _listing(title: str, commands: Iterable[Command]) -> str:
    return f"{title}:\n" + "\n".join(f"  {command.name:<14}{command.summary}" for command in commands)


def _examples(examples: Iterable[tuple[str, str]]) -> str:
    lines = list(examples)
    width = max(len(line) for line, _ in lines)
    return "examples:\n" + "\n".join(f"  {line:<{width}}   {does}" for line, does in lines)
