"""The state of the node: paths and units, each as a small JSON object."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from typing import Any

from tercet.nodeside.agent.requests import execute

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "InvocationID",
    "Result",
    "StatusText",
)


class NodeError(Exception):
    """A question or change failed. The message says what was found."""


def fact(path: str, want: str = "") -> dict[str, Any] | None:
    """What is at a path, without following links; None if nothing is there.

    `want` is "content" for a file's sha256, "entries" for a directory's names, or "" for neither.
    """
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = {
        "kind": "special",
        "mode": stat.S_IMODE(info.st_mode),
        "owner": name_of(pwd.getpwuid, info.st_uid),
        "group": name_of(grp.getgrgid, info.st_gid),
    }
    if stat.S_ISREG(info.st_mode):
        found["kind"] = "file"
        if want == "content":
            with open(path, "rb") as file:
                found["sha256"] = sha256(file.read())
    elif stat.S_ISLNK(info.st_mode):
        found.update(kind="link", target=os.readlink(path), leads=os.path.exists(path))
    elif stat.S_ISDIR(info.st_mode):
        found["kind"] = "directory"
        if want == "entries":
            found["entries"] = sorted(os.listdir(path))
    return found


def name_of(lookup: Callable[[int], tuple[Any, ...]], number: int) -> str:
    """The name of a user or group, or its number if it has no name."""
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def sha256(data: bytes) -> str:
    """The SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest(path: str) -> str:
    """The content at a path as one short text. A directory stands for everything in it."""
    found = fact(path, "content")
    if found is None:
        return "absent"
    if found["kind"] == "directory":
        entries = [(name, digest(os.path.join(path, name))) for name in sorted(os.listdir(path))]
        return sha256(repr(entries).encode())
    return str(found.get("sha256") or found.get("target") or found["kind"])


def show(units: Iterable[str], timeout: float = 10.0) -> dict[str, dict[str, str]]:
    """The state of units as systemd reports it, read in one call. Raises NodeError."""
    names = list(dict.fromkeys(units))
    if not names:
        return {}
    shown = execute(["systemctl", "show", "--property", ",".join(PROPERTIES), "--", *names], timeout=timeout)
    blocks = shown["text"].strip().split("\n\n")
    if shown["status"] != 0 or len(blocks) != len(names):
        raise NodeError(f"systemctl show: {(shown['error'] or shown['text']).strip()}")
    unset = dict.fromkeys(PROPERTIES, "")
    return {
        name: {**unset, **dict(line.split("=", 1) for line in block.splitlines())}
        for name, block in zip(names, blocks, strict=True)
    }
