"""Wraps the commands of programs on nodes, so that they end there in time.

Invariant: an abandoned program ends, even if neither its server nor this machine can end it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tercet.converge.fleet import Completed
from tercet.nodeside import fence, supervise

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
FENCE = ("/run/tercet/fence", "/var/lib/tercet/term")  # the locks and the term of fence.py on a node
GRACE = 3.0  # seconds in which a spawned program must end after the end of its input
KILL_AFTER = 1.0  # seconds between SIGTERM and SIGKILL of a program that takes too long


def clean(argv: Sequence[str]) -> tuple[str, ...]:
    """The command with a clean environment."""
    return ("env", "-i", *ENVIRONMENT, *argv)


def limited(argv: Sequence[str], timeout: float) -> tuple[str, ...]:
    """The command with a time limit on the node, which is a little longer than this machine waits."""
    return clean(("timeout", "-k", f"{KILL_AFTER:g}", f"{timeout + KILL_AFTER:g}", *argv))


def supervised(argv: Sequence[str]) -> tuple[str, ...]:
    """The command under a supervisor on the node, which ends it when standard input ends."""
    return clean(("python3", "-I", "-S", "-c", Path(supervise.__file__).read_text(), f"{GRACE:g}", *argv))


def fenced(argv: Sequence[str], term: int | None) -> tuple[str, ...]:
    """The command, fenced if `term` is given: the node refuses it once it has seen a later holder of the lock."""
    if term is None:
        return tuple(argv)
    return ("python3", "-I", "-S", "-c", Path(fence.__file__).read_text(), *FENCE, str(term), *argv)


def refused(done: Completed) -> str | None:
    """The fence's message, if it refused to start the program."""
    said = done.stderr.decode(errors="replace").strip()
    return said if done.status == fence.REFUSED and said.startswith(fence.OVER) else None
