"""Errors of the operating system, such as a full disk or a missing permission, with a remedy for each."""

from __future__ import annotations

import errno

from tercet.errors import TercetError

REMEDIES = {
    errno.ENOSPC: "make room on that disk, then run this again",
    errno.EDQUOT: "make room within your quota, then run this again",
    errno.EROFS: "that file system is read-only: mount it writable, or name another place in the inventory",
    errno.EACCES: "run this as a user who may, such as with sudo",
    errno.EPERM: "run this as a user who may, such as with sudo",
    errno.ENOENT: "install or restore it, then run this again",
}


def explained(error: OSError) -> TercetError | None:
    """The error with its remedy; None if there is no remedy: then it is a bug, and the traceback is needed."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return TercetError(f"{where}{error.strerror}: {remedy}")
