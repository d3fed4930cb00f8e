"""Replaces one of the operator's files as a whole: the old file exists until the new one is on the disk."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, *, like: os.stat_result | None = None) -> None:
    """Write `content` to `path`, with the mode of `like` and, as root, its owner. Without `like`, the mode is 0600.

    Raises OSError; then the old file is unchanged.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            if like is not None:
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
                if os.geteuid() == 0:
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
        temporary = None
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
