"""Prints how far this node's WAL reaches: `wal.py DATA BIN`, one JSON object on standard output.

    {"data": false}
    {"data": true, "system": "7…", "timeline": 2, "end": 83886304, "history": "1\\t0/5000000\\t…",
     "running": false, "standby": true, "committed": "2026-11-27 22:31:22.123456 UTC"}

`end` is the position after the last complete record of the newest timeline. It is read from the WAL itself, because the
control file of a standby lags behind what the standby has received and confirmed. It is read in the same way whether
PostgreSQL runs or not, so that nodes can be compared. `history` is the newest timeline's history file. `committed` is
the time of the last commit since the last checkpoint, or "" if there is none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = 8192
SHORT_HEADER, LONG_HEADER = 24, 40  # bytes of the header of a page, and of a segment's first page
SEGMENT = re.compile("[0-9A-F]{24}")
LIMIT_S = 90.0  # seconds; all WAL since the last checkpoint is read, 1 GB by default


def position(text: str) -> int:
    """ "1/2000028" as a number of bytes."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def as_text(place: int) -> str:
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def behind(start: int, length: int, segment: int) -> int:
    """The end of a record with that start and length: page headers are in between, and the end is aligned to 8."""
    place, left = start, (length + 7) // 8 * 8
    while left:
        if place % PAGE == 0:
            place += SHORT_HEADER if place % segment else LONG_HEADER
        step = min(left, PAGE - place % PAGE)
        place, left = place + step, left - step
    return place


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL; if this is root, as PostgreSQL's own user."""
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        user="postgres" if os.geteuid() == 0 else None,
    )


def end_of_wal(waldump: str, folder: Path, timeline: int, start: int, segment: int) -> int:
    """The position after the last complete record of that timeline from `start` on; `start` if there is none."""
    where = (waldump, "-p", str(folder), "-t", str(timeline), "-s")
    # pg_waldump reads until a record is broken, and names the last complete one.
    last = re.search(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)", run(*where, as_text(start), "-q").stderr)
    if last is None or position(last[1]) == 0:
        return start
    record = re.search(r"len \(rec/tot\):\s*\d+/\s*(\d+)", run(*where, last[1], "-n", "1").stdout)
    return behind(position(last[1]), int(record[1]), segment) if record else position(last[1])


def last_commit(waldump: str, folder: Path, timeline: int, start: int) -> str:
    """The time of the last commit of that timeline from `start` on; "" if there is none."""
    said = run(waldump, "-p", str(folder), "-t", str(timeline), "-s", as_text(start), "-r", "Transaction").stdout
    times = re.findall(r"desc: COMMIT (\d{4}-\d\d-\d\d [0-9:.]+ \S+)", said)
    return times[-1].rstrip(";,") if times else ""


def running(data: Path) -> bool:
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except (OSError, ValueError, IndexError):
        return False


def read(data: Path, programs: Path) -> dict[str, Any]:
    if not (data / "PG_VERSION").exists():
        return {"data": False}
    said = run(str(programs / "pg_controldata"), "-D", str(data))
    if said.returncode != 0:
        raise SystemExit(said.stderr.strip() or f"pg_controldata left with {said.returncode}")
    control = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in said.stdout.splitlines())}
    segment = int(control["Bytes per WAL segment"])
    folder = data / "pg_wal"
    segments = sorted(name for name in os.listdir(folder) if SEGMENT.fullmatch(name))
    checkpoint = int(control["Latest checkpoint's TimeLineID"])
    replayed = int(control["Min recovery ending loc's timeline"])
    timeline = max(checkpoint, replayed, *(int(name[:8], 16) for name in segments))
    start = position(control["Latest checkpoint's REDO location"])
    own = [name for name in segments if int(name[:8], 16) == timeline]
    if checkpoint != timeline and own:
        # The first segment of a timeline begins with a copy of the earlier timeline's segment.
        start = max(start, (int(own[0][8:16], 16) << 32) + int(own[0][16:], 16) * segment)
    known = [position(control["Latest checkpoint location"])] if checkpoint == timeline else []
    known += [position(control["Minimum recovery ending location"])] if replayed == timeline else []
    history = folder / f"{timeline:08X}.history"
    return {
        "data": True,
        "system": control["Database system identifier"],
        "timeline": timeline,
        "end": max(end_of_wal(str(programs / "pg_waldump"), folder, timeline, start, segment), *known, 0),
        "history": history.read_text() if history.exists() else "",
        "running": running(data),
        "standby": (data / "standby.signal").exists(),
        "committed": last_commit(str(programs / "pg_waldump"), folder, timeline, start),
    }


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1]), Path(sys.argv[2]))))
