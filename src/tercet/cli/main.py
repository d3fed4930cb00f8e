"""`tercet`: run the command that the words name, and turn its result into an exit status.

0: done. 1: an error that the operator can act on, including a wrong command line. 2: changes are pending (only `tercet
plan`). 130: Ctrl-C. 128 + N: signal N. 141: the reader of standard output closed it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from tercet.cli.invocation import COMPLETE, Invocation
from tercet.cli.registry import tercet
from tercet.errors import TercetError

INTERRUPTED = 130
BROKEN_PIPE = 141


def program() -> NoReturn:
    """The entry point of the process: its arguments are the command line, and it exits with the command's status."""
    if asked := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete  # noqa: PLC0415

        sys.exit(shell_complete(tercet, {"obj": Invocation()}, "tercet", COMPLETE, asked))
    sys.exit(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run one command line; `words` without the program's name. Returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")  # a terminal without UTF-8 shows ? instead of breaking the command
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except TercetError as error:
        sys.stdout.flush()
        print(f"tercet: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except click.UsageError as error:
        print(f"tercet: {explain(error)}", file=sys.stderr)  # noqa: T201
        return 1  # not click's 2: for callers of `tercet plan`, 2 means that changes are pending
    except KeyboardInterrupt as stop:
        print(f"\ntercet: interrupted{'. ' if str(stop) else ''}{stop}", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output again at exit; let it flush to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(words: Sequence[str]) -> int:
    # Not `tercet.main()`, which would turn Ctrl-C, a broken pipe and a usage error into click's own statuses.
    try:
        with tercet.make_context("tercet", list(words), obj=Invocation()) as context:
            status: int = tercet.invoke(context)
            return status
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code


def explain(error: click.UsageError) -> str:
    """Print what is wrong with the command line, the usage, and where to find help."""
    lines = [error.format_message()]
    if error.ctx:
        lines += [error.ctx.get_usage(), f"More:  {error.ctx.command_path} --help"]
    return "\n".join(lines)


if __name__ == "__main__":
    program()
