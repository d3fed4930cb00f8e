"""Prints what this node's WAL has from a position on: `beyond.py DATA BIN TIMELINE:LSN…`, one JSON object.

    {"commits": 12, "first": "2026-11-27 22:31:22.123456 UTC", "last": "…", "segments": ["00000001…", …],
     "histories": ["00000002.history"], "listing": "…"}

The arguments are timelines, each with the position from which its WAL is wanted. `segments` are the files with all of
that WAL, `histories` the history files of timelines. `listing` has pg_waldump's lines for every commit and abort, at
most the last LINES of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SEGMENT = re.compile("[0-9A-F]{24}")
LIMIT_S = 90.0
LINES = 20_000
COMMIT = re.compile(r"desc: COMMIT(?:_PREPARED)? (?:\d+: )?(\d{4}-\d\d-\d\d [0-9:.]+ [^;, ]+)")


def run(*argv: str) -> str:
    """Run a program of PostgreSQL, as its own user if this is root, and return its output. The end of WAL is no
    error.
    """
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=LIMIT_S,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        user="postgres" if os.geteuid() == 0 else None,
    )
    return done.stdout


def number(segment: str, size: int) -> int:
    """The position at which a segment begins."""
    return (int(segment[8:16], 16) << 32) + int(segment[16:], 16) * size


def position(text: str) -> int:
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def read(data: Path, programs: Path, ways: list[tuple[int, str]]) -> dict[str, Any]:
    folder = data / "pg_wal"
    control = run(str(programs / "pg_controldata"), "-D", str(data))
    found = re.search(r"^Bytes per WAL segment: +(\d+)$", control, re.MULTILINE)
    if found is None:
        raise SystemExit("pg_controldata does not say how large a segment is")
    size, names = int(found[1]), sorted(os.listdir(folder))
    lines, segments = list[str](), list[str]()
    for timeline, start in ways:
        waldump = (str(programs / "pg_waldump"), "-p", str(folder), "-t", str(timeline), "-s", start)
        lines += run(*waldump, "-r", "Transaction").splitlines()
        segments += [
            name
            for name in names
            if SEGMENT.fullmatch(name) and int(name[:8], 16) == timeline and number(name, size) + size > position(start)
        ]
    times = [match[1] for line in lines if (match := COMMIT.search(line))]
    return {
        "commits": len(times),
        "first": times[0] if times else "",
        "last": times[-1] if times else "",
        "segments": segments,
        "histories": [name for name in names if name.endswith(".history")],
        "listing": "".join(f"{line}\n" for line in lines[-LINES:]),
    }


if __name__ == "__main__":
    given = [(int(timeline), start) for timeline, _, start in (word.partition(":") for word in sys.argv[3:])]
    print(json.dumps(read(Path(sys.argv[1]), Path(sys.argv[2]), given)))
