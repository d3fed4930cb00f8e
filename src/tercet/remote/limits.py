"""What a program on a node is wrapped in, so that it ends there.

Invariant: a program that is given up ends, even where neither the server nor this machine is there any more to end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tercet.converge.fleet import Completed
from tercet.nodeside import fence, supervise

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
FENCE = ("/run/tercet/fence", "/var/lib/tercet/term")  # where fence.py has its locks on a node, and keeps the term
GRACE = 3.0  # seconds that a spawned program has to end by itself once its input ended
KILL_AFTER = 1.0  # seconds between SIGTERM and SIGKILL of a program whose time is up


def clean(argv: Sequence[str]) -> tuple[str, ...]:
    """In an environment of its own, whatever starts it."""
    return ("env", "-i", *ENVIRONMENT, *argv)


def limited(argv: Sequence[str], timeout: float) -> tuple[str, ...]:
    """Ended on the node itself a little after the time that this machine waits."""
    return clean(("timeout", "-k", f"{KILL_AFTER:g}", f"{timeout + KILL_AFTER:g}", *argv))


def supervised(argv: Sequence[str]) -> tuple[str, ...]:
    """Ended on the node itself when its standard input ends."""
    return clean(("python3", "-I", "-S", "-c", Path(supervise.__file__).read_text(), f"{GRACE:g}", *argv))


def fenced(argv: Sequence[str], term: int | None) -> tuple[str, ...]:
    """As a program of the lock's holder, if `term` is given: refused on the node once a later holder was there."""
    if term is None:
        return tuple(argv)
    return ("python3", "-I", "-S", "-c", Path(fence.__file__).read_text(), *FENCE, str(term), *argv)


def refused(done: Completed) -> str | None:
    """What the fence said if it did not start the program."""
    said = done.stderr.decode(errors="replace").strip()
    return said if done.status == fence.REFUSED and said.startswith(fence.OVER) else None
