"""What each unit was started with: /run/tercet/units/UNIT holds a digest for each path that the unit watches,
a line "PATH<tab>DIGEST" each.

A unit watches the paths that it reads when it starts or reloads. Why no change is lost, wherever the tool or
the node is killed:

1. Before a path changes, its entry becomes "pending" in the stamp of every unit that watches it. A unit that
   has no stamp gets one first: /run is emptied at boot together with all processes, so an active unit without
   a stamp was started from what is on disk.
2. The path changes by one rename: old or new, never a part.
3. The unit is restarted (or reloaded). Its stamp then gets the digests that were read before that, and only
   if systemd began a new invocation (or the reload succeeded).

Killed before 1, nothing has changed and the plan is the same as before. Killed between 1 and the end of 3, the
stamp says pending, so the next look finds the path stale, whether it was written or not. At worst a unit is
restarted once more than it needed.

A unit that does not run gets its stamp before it is started: whoever starts it, it reads what is on disk.
What systemd alone remembers (NeedDaemonReload) is marked as pending before `daemon-reload` wipes it out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tercet.nodeside.agent.facts import digest

STAMPS = "/run/tercet/units"
PENDING = "pending"


def read(unit: str) -> dict[str, str] | None:
    """What the unit runs with, by path; None if that was not recorded since the node's boot."""
    try:
        with open(os.path.join(STAMPS, unit), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("\t", 1) for line in file if "\t" in line)
    except FileNotFoundError:
        return None


def write(unit: str, digests: dict[str, str]) -> None:
    """Record it. No fsync: what a power cut takes from here, it takes from the unit too."""
    os.makedirs(STAMPS, mode=0o700, exist_ok=True)
    temporary = os.path.join(STAMPS, f".{unit}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(f"{path}\t{digest}\n" for path, digest in digests.items())
    os.replace(temporary, os.path.join(STAMPS, unit))


def current(watched: Iterable[str]) -> dict[str, str]:
    """What a unit would run with if it were started now."""
    return {path: digest(path) for path in watched}


def mark(unit: str, watched: Iterable[str], path: str) -> None:
    """`path` is about to change under the unit."""
    known = read(unit)
    if known is None:
        known = current(watched)
    if known.get(path) != PENDING:
        write(unit, {**known, path: PENDING})


def stale(unit: str, watched: Iterable[str]) -> list[str]:
    """The paths whose content on disk is not what the unit runs with."""
    known = read(unit)
    if known is None:
        return []
    now = current(watched)
    pending = [path for path, digest in known.items() if digest == PENDING and path not in now]
    return [path for path in now if now[path] != known.get(path)] + pending
