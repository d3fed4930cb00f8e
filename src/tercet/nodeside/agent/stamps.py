"""Records what each unit was started with: /run/tercet/units/UNIT has a line "PATH<tab>DIGEST" for each path that the
unit watches.

A unit watches the paths that it reads when it starts or reloads. No change is lost, wherever the tool or the node is
killed, for these reasons:

1. Before a path changes, its entry becomes "pending" in the stamp of every unit that watches it. A unit that
   has no stamp gets one first: /run is emptied at boot together with all processes, so an active unit without
   a stamp was started from what is on disk.
2. The path changes by one rename: old or new, never a part.
3. The unit is restarted (or reloaded). Its stamp then gets the digests that were read before that, and only
   if systemd began a new invocation (or the reload succeeded).

If this is killed before 1, nothing has changed and the plan is the same as before. If it is killed between 1 and the
end of 3, the stamp says pending, so the next observation finds the path stale, whether it was written or not. At worst,
a unit is restarted once more than needed.

A unit that does not run gets its stamp before it is started, because it then reads what is on disk, however it is
started. A state that only systemd remembers (NeedDaemonReload) is marked as pending before `daemon-reload` clears it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tercet.nodeside.agent.facts import digest

STAMPS = "/run/tercet/units"
PENDING = "pending"


def read(unit: str) -> dict[str, str] | None:
    """The digests that the unit runs with, by path; None if they were not recorded since the node's boot."""
    try:
        with open(os.path.join(STAMPS, unit), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("\t", 1) for line in file if "\t" in line)
    except FileNotFoundError:
        return None


def write(unit: str, digests: dict[str, str]) -> None:
    """Write the stamp. No fsync is needed: a power cut that loses the stamp also ends the unit."""
    os.makedirs(STAMPS, mode=0o700, exist_ok=True)
    temporary = os.path.join(STAMPS, f".{unit}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(f"{path}\t{digest}\n" for path, digest in digests.items())
    os.replace(temporary, os.path.join(STAMPS, unit))


def current(watched: Iterable[str]) -> dict[str, str]:
    """The digests that a unit would run with if it were started now."""
    return {path: digest(path) for path in watched}


def mark(unit: str, watched: Iterable[str], path: str) -> None:
    """Mark `path` as pending, before it changes."""
    known = read(unit)
    if known is None:
        known = current(watched)
    if known.get(path) != PENDING:
        write(unit, {**known, path: PENDING})


def stale(unit: str, watched: Iterable[str]) -> list[str]:
    """The paths whose content on disk differs from what the unit runs with."""
    known = read(unit)
    if known is None:
        return []
    now = current(watched)
    pending = [path for path, digest in known.items() if digest == PENDING and path not in now]
    return [path for path in now if now[path] != known.get(path)] + pending
