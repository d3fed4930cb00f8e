"""What the machine refuses (a full disk, a missing permission), and what to do about it."""

from __future__ import annotations

import errno

from tercet.errors import TercetError

REMEDIES = {
    errno.ENOSPC: "make room on that disk, then run this again",
    errno.EDQUOT: "make room within your quota, then run this again",
    errno.EROFS: "that file system is read-only: mount it writable, or name another place in the inventory",
    errno.EACCES: "run this as a user who may, such as with sudo",
    errno.EPERM: "run this as a user who may, such as with sudo",
    errno.ENOENT: "it must be there: install or restore it, then run this again",
}


def explained(error: OSError) -> TercetError | None:
    """The error with its remedy; None where there is none, so that it is a bug whose traceback is wanted."""
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return TercetError(f"{where}{error.strerror}: {remedy}")
