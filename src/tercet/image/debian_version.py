"""The order of Debian's versions (Debian Policy, 5.6.12)."""

from __future__ import annotations

import re

END = 0  # the end of a part comes after "~" and before everything else
Order = tuple[int, tuple[object, ...], tuple[object, ...]]


def order(version: str) -> Order:
    """A key for comparing: epoch, upstream version, and Debian's revision, which is 0 if there is none."""
    epoch, _, rest = version.rpartition(":")
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch or 0), _runs(upstream if dash else rest), _runs(revision if dash else "0")


def _runs(text: str) -> tuple[object, ...]:
    """Runs of other characters and of digits in turn, so that 1.10 comes after 1.9."""
    pairs: list[tuple[str, str]] = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*map(_rank, other), END), int(digits or 0)) for other, digits in pairs)


def _rank(character: str) -> int:
    """Letters come before all other characters, except for "~", which comes before the end."""
    if character == "~":
        return END - 1
    return ord(character) if character.isalpha() else ord(character) + 256
