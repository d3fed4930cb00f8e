"""The file that Patroni writes its keepalives to, as to a watchdog device (part of `tercet-watchdog.service`)."""

from __future__ import annotations

import contextlib
import glob
import os

DISARMED = b"V"  # what Patroni writes when it switches its watchdog off, as to a device with "magic close"


def positions(path: str) -> list[int]:
    """How far each process that has the file open has written in it."""
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

    Clocks are never compared: a keepalive is a change of the file's time, whatever that time is.

    Patroni opens the file anew each time that it becomes the leader, and writes from its start, over what an earlier
    lead left there. So `settle` removes what is left of that: else the "V" at the end of a long lead would say of the
    next one, until it has lasted as long, that its watchdog is switched off (seen: a primary whose Patroni was killed
    was never fenced).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._last = self._stamp()

    def settle(self) -> None:
        """Leave in the file what the last lead wrote. To be called at each look, so that there is little to leave."""
        if self._stamp()[1] <= 1 or not self.disarmed():
            return
        with contextlib.suppress(OSError):
            if written := positions(self._path):
                os.truncate(self._path, max(written))
                return
            with open(self._path, "r+b") as file:
                file.write(DISARMED)
                file.truncate()
            if positions(self._path):  # switched on in just this moment
                os.truncate(self._path, 0)

    def came(self) -> bool:
        """One or more since the last call. A file that was emptied for a new Patroni says nothing yet."""
        before, self._last = self._last, self._stamp()
        return self._last != before and self.begun()

    def begun(self) -> bool:
        """The Patroni that runs has written at least once, so it has been through its start."""
        return self._last[1] > 0

    def disarmed(self) -> bool:
        """Patroni has switched its watchdog off: PostgreSQL is stopped, a standby, or Patroni is paused."""
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
