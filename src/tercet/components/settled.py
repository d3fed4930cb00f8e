"""Checks of what a program on the node changes by itself."""

from __future__ import annotations

from tercet.converge.requests import Exec
from tercet.datafile import text_of

_SETTLED = text_of(__package__, "settled.sh")


def settled(*argv: str) -> Exec:
    """Succeeds if `argv` does within two seconds.

    A program that changes the state and then records what it has set is seen between the two now and then, and a plan
    that is made in that moment would restart it.
    """
    return Exec(("sh", "-c", _SETTLED, "sh", *argv))
