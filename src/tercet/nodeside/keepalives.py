"""The file to which Patroni writes its keepalives, like to a watchdog device (part of `tercet-watchdog.service`)."""

from __future__ import annotations

import contextlib
import glob
import os

DISARMED = b"V"  # Patroni writes this when it switches its watchdog off, like to a device with "magic close"


def positions(path: str) -> list[int]:
    """For each process that has the file open: the position up to which it has written."""
    found = list[int]()
    for folder in glob.iglob("/proc/[0-9]*/fd"):
        with contextlib.suppress(OSError, ValueError):  # the process has ended
            for name in os.listdir(folder):
                if os.readlink(f"{folder}/{name}") == path:
                    with open(f"{folder}info/{name}") as info:
                        found.append(int(info.readline().removeprefix("pos:")))
    return found


class Keepalives:
    """The file that Patroni writes to: empty while Patroni starts, then longer with each keepalive.

    Clocks are never compared: any change of the file's time is a keepalive.

    Each time that Patroni becomes the leader, it opens the file again and overwrites it from the start. So `settle`
    removes the rest of what an earlier lead wrote. Otherwise the "V" at the end of a long earlier lead would mean that
    the watchdog is switched off, until the new lead has lasted as long (seen: a primary whose Patroni was killed was
    never fenced).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._last = self._stamp()

    def settle(self) -> None:
        """Keep only what the last lead wrote. Call this at each poll."""
        if self._stamp()[1] <= 1 or not self.disarmed():
            return
        with contextlib.suppress(OSError):
            if written := positions(self._path):
                os.truncate(self._path, max(written))
                return
            with open(self._path, "r+b") as file:
                file.write(DISARMED)
                file.truncate()
            if positions(self._path):  # switched on at this very moment
                os.truncate(self._path, 0)

    def came(self) -> bool:
        """Whether there was a keepalive since the last call. A file that was emptied for a new Patroni does not count
        yet.
        """
        before, self._last = self._last, self._stamp()
        return self._last != before and self.begun()

    def begun(self) -> bool:
        """Whether the running Patroni has written at least once, so that its start is complete."""
        return self._last[1] > 0

    def disarmed(self) -> bool:
        """Whether Patroni has switched its watchdog off: PostgreSQL is stopped or a standby, or Patroni is paused."""
        try:
            with open(self._path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == DISARMED
        except OSError:  # missing or empty
            return False

    def _stamp(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size
