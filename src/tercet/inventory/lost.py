"""Writes `lost_sites` into the operator's own inventory: only this key, without changing any other byte.

`tercet recover` does this itself. A person who has lost two sites at three in the morning should not have to edit a
file between two commands, and without the key in the inventory the next `apply` would undo everything.

Invariants: before the new file is written, it is parsed again, and must be equal to the old one except for this key.
The old file exists until the new one is on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from tercet.errors import TercetError
from tercet.inventory.document import read
from tercet.inventory.replace import replace_file

KEY = "lost_sites"
MARK = "# Written by `tercet recover"  # the beginning of the comment before the key, which is removed with the key
_OURS = re.compile(rf"^{re.escape(MARK)}[^\n]*\n", re.MULTILINE)


def line_of(lost: Sequence[str]) -> str:
    """The key as it is written in an inventory."""
    return f"{KEY}: [{', '.join(lost)}]"


def edited(raw: bytes, lost: Sequence[str], command: str, when: str) -> bytes:
    """The inventory's bytes with these lost sites, or without the key if there are none.

    `command` ("site-alone fsn-01") and `when` are for the comment. Raises ValueError with the reason if this cannot be
    done.
    """
    before = read(raw)
    if before.problems or not isinstance(before.data, dict):
        raise ValueError("it is not a readable mapping")
    text = raw.decode("utf-8")
    line_end = "\r\n" if "\r\n" in text else "\n"
    head, tail = _around(text)
    block = f"{MARK} {command}` at {when}. See docs/recovery.md.{line_end}{line_of(lost)}{line_end}" if lost else ""
    if block and head and not head.endswith("\n"):
        head += line_end
    result = f"{head}{block}{tail}".encode()
    after = read(result)
    wanted = {key: value for key, value in before.data.items() if key != KEY} | ({KEY: list(lost)} if lost else {})
    if after.problems or after.data != wanted:
        raise ValueError("its format is one that tercet cannot change safely")
    return result


def _around(text: str) -> tuple[str, str]:
    """The text before the key with its comment, and the text after it. Without the key, split at the document's end."""
    root = yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)
    offset = len(text) - len(text.removeprefix("\ufeff"))
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise ValueError("it is not a list of keys, one per line")
    for key, value in root.value:
        if key.value != KEY:
            continue
        # The end of a list is where the next text begins, so use the end of its last item. A comment there is removed
        # with it.
        last = (
            value.value[-1] if isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style else value
        )
        start, end = key.start_mark.index + offset, last.end_mark.index + offset
        end = text.find("\n", end) + 1 or len(text)
        comment = [found for found in _OURS.finditer(text, 0, start) if found.end() == start]
        return text[: comment[0].start() if comment else start], text[end:]
    ended = re.search(r"^\.\.\.", text, re.MULTILINE)
    return (text[: ended.start()], text[ended.start() :]) if ended else (text, "")


def write(file: Path, lost: Sequence[str], command: str, when: str) -> None:
    """Write these lost sites into the inventory, unless it already has them. Raises TercetError if this cannot be done;
    then nothing was changed, and the message has the line to write by hand.
    """
    path = file.resolve()
    remedy = f"write this line into {file} yourself, instead of any line that begins with {KEY}, then run this "
    remedy += f"again:\n  {line_of(lost)}"
    try:
        raw = path.read_bytes()
        said = read(raw).data
        if isinstance(said, dict) and (said.get(KEY) or []) == list(lost):
            return
        replace_file(path, edited(raw, lost, command, when), like=path.stat())
    except ValueError as error:
        raise TercetError(f"expected to write {KEY} into {file}, found that {error}: {remedy}") from None
    except OSError as error:
        raise TercetError(f"expected to write {KEY} into {file}, found {error.strerror}: {remedy}") from None
