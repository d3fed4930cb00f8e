"""Reads checksum files as vendors publish them: lines of `DIGEST  NAME`, or a single digest."""

from __future__ import annotations

import re

from tercet.errors import TercetError

_DIGEST = re.compile(r"^[0-9a-fA-F]{64}$")


def digest_of(name: str, text: str, where: str) -> str:
    """The sha256 of `name` in lower case. If the text is a single digest, it is that of `name`."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for words in lines:
        if _DIGEST.match(words[0]) and len(words) == 2 and words[1].removeprefix("*") == name:
            return words[0].lower()
    if len(lines) == 1 and len(lines[0]) == 1 and _DIGEST.match(lines[0][0]):
        return lines[0][0].lower()
    raise TercetError(f"{where} should list the sha256 of {name}, but does not")
