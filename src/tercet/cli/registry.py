"""Which commands there are: the modules of tercet.cli.commands. Adding a command = adding a file there."""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches

from tercet.cli import commands
from tercet.cli.command import Command, UsageError


def command_names() -> tuple[str, ...]:
    """The names of all commands, found without importing them."""
    return tuple(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))


def find_command(name: str) -> Command:
    """The command of that name, its module imported now. UsageError if there is none."""
    check_name(name, command_names(), "tercet")
    module = importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")
    command = module.command
    if not isinstance(command, Command):
        raise TypeError(f"{module.__name__}.command is no Command")
    return command


def find_subcommand(group: Command, name: str, path: str) -> Command:
    """The command of that name within a group; `path` is the way to the group, as it was written."""
    check_name(name, tuple(command.name for command in group.commands), path)
    return next(command for command in group.commands if command.name == name)


def check_name(name: str, known: tuple[str, ...], path: str) -> None:
    """UsageError, with what was probably meant, unless the name is known."""
    if name in known:
        return
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean `{path} {close[0]}`?" if close else f"expected one of {', '.join(known)}"
    raise UsageError(f"there is no command `{path} {name}`: {hint}\nAll commands: {path} --help")
