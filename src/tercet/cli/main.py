"""`tercet`: run the command that the words name, and turn every way it can end into an exit status.

0 done, 1 an error that the operator can act on, 2 changes pending (`tercet plan` alone), 130 Ctrl-C,
128 + N a signal N, 141 the reader of standard output went away.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tercet.cli.parsing import Parsed, parse
from tercet.errors import TercetError

INTERRUPTED = 130
BROKEN_PIPE = 141
REMEDIES = {
    errno.ENOSPC: "make room on that disk, then run this again",
    errno.EDQUOT: "make room within your quota, then run this again",
    errno.EROFS: "that file system is read-only: mount it writable, or name another place in the inventory",
    errno.EACCES: "run this as a user who may, such as with sudo",
    errno.EPERM: "run this as a user who may, such as with sudo",
    errno.ENOENT: "it must be there: install or restore it, then run this again",
}
"""What the machine refuses, wherever that happens, and what to do about it."""


def program() -> NoReturn:
    """`tercet` as a process of its own: its arguments are the command line, its exit status what came of it."""
    # Imports alone make some 70,000 objects that stay. To look for garbage among them every 700 takes 0.08 s, and once
    # more at the end 0.1 s.
    gc.set_threshold(200_000)
    # Pydantic would look for plug-ins in the metadata of every package: 0.02 s. tercet's models want none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        status = main(sys.argv[1:])
    finally:
        gc.freeze()
    sys.exit(status)


def main(words: Sequence[str]) -> int:
    """Run one command line; `words` without the program's name. Returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")  # a terminal without UTF-8 shows ? instead of breaking the command
    parsed: Parsed | None = None
    try:
        parsed = parse(words)
        status = _run(parsed)
        sys.stdout.flush()
        return status
    except TercetError as error:
        sys.stdout.flush()
        print(f"tercet: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        hint = parsed.command.interrupted if parsed else ""
        print(f"\ntercet: interrupted{'. ' if hint else ''}{hint}", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more at exit; let it flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        if remedy is None or (parsed and parsed.invocation.verbose):  # a bug, whose traceback is wanted
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"tercet: {where}{error.strerror}: {remedy}", file=sys.stderr)  # noqa: T201
        return 1


def _run(parsed: Parsed) -> int:
    if parsed.command.run is None:
        raise TypeError(f"the command {parsed.command.name} has nothing to run")
    return parsed.command.run(parsed.arguments, parsed.invocation)


if __name__ == "__main__":
    program()
