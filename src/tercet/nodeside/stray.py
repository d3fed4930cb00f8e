"""Removes the history file of a timeline that was given up, so that a standby can follow the primary again.

A standby fetches the history file of a new primary's timeline before any of its WAL. If that primary loses the lead
before its timeline counts (timeline.py), and another node leads on the old timeline, the standby still recovers towards
the newest timeline that it has a file of. It refuses to stream ("highest timeline 39 of the primary is behind recovery
timeline 40"), forever, and Patroni sees no divergence, because the standby has no WAL of that timeline.

So if a standby that may follow the holder of the leader key does not stream in LOOKS looks in a row, the files of
timelines that are newer than both its own WAL and the one that `dcs` records are renamed. Then PostgreSQL is shut down,
and Patroni starts it again. If such a timeline does become the primary's, the standby fetches its file again.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Any

from tercet.nodeside.host import run
from tercet.nodeside.processes import running

LOOKS = 3
OWN = re.compile(r"(?:Min recovery ending loc's timeline|Latest checkpoint's TimeLineID): +(\d+)")


class Stray:
    """`data` is PostgreSQL's data directory, `controldata` the program that prints its control file."""

    def __init__(self, data: str, controldata: str) -> None:
        self._data, self._controldata = data, controldata
        self._looks = 0

    def look(self, status: dict[str, Any], recorded: int) -> list[str]:
        """`status`: the answer of the node's Patroni; `recorded`: the timeline that `dcs` records. Returns the files
        that were renamed. Raises ProgramError, OSError.
        """
        stalled = status.get("role") == "replica" and status.get("replication_state") != "streaming"
        self._looks = self._looks + 1 if stalled else 0
        if self._looks < LOOKS:
            return []
        self._looks = 0
        newest = max([recorded, *(int(found) for found in OWN.findall(run([self._controldata, self._data])))])
        strays = newer(os.listdir(f"{self._data}/pg_wal"), newest)
        for name in strays:
            os.rename(f"{self._data}/pg_wal/{name}", f"{self._data}/pg_wal/{name}.given-up")
        pid = running(self._data)
        if strays and pid:
            os.kill(pid, signal.SIGINT)
        return strays


def newer(names: list[str], timeline: int) -> list[str]:
    """The history files of newer timelines than this one."""
    found = (re.fullmatch(r"([0-9A-F]{8})\.history", name) for name in names)
    return sorted(match[0] for match in found if match and int(match[1], 16) > timeline)
