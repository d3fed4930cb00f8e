"""Runs pg_rewind for Patroni. Data that cannot be rewound is moved aside, never deleted.

Patroni runs this in the place of pg_rewind (`postgresql.bin_name.pg_rewind`), with the same arguments. Patroni itself
knows two ways to treat data that diverged and cannot be rewound: delete it, or start it as it is, a standby that can
never follow. Here the data directory is renamed, on the same file system and with a file in it that says why. Patroni
then finds no data and clones the primary.

Invariant: data is moved only when pg_rewind has failed twice in a row against a primary that ran throughout: it
answered before and after each run, with the same start time. A primary that is away, restarts or is being replaced
proves nothing: then the data stays where it is and Patroni tries again.

The mark is written before the rename, so that what has the new name has the mark, too, wherever this is broken off.
nodeside/aside.py lists what was moved aside and removes it.

Arguments: the directory of PostgreSQL's programs, then those of pg_rewind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

MARK = "tercet-aside.json"
FAILURES = 2  # in a row
RUNS = 6  # of a source that is away or restarted between them: Patroni is told, and tries again
ASK_S = 5.0  # a question to the source; Patroni's own take up to 3 s
AWAY_S = 10.0  # so long a source may be silent before Patroni is told: by then a dead primary has been replaced
PAUSE_S = 0.5
STARTED = "SELECT pg_postmaster_start_time() WHERE NOT pg_is_in_recovery()"
# If this program or Patroni is killed, pg_rewind must not go on writing into data that Patroni then starts.
LEASHED = ("setpriv", "--pdeathsig", "KILL")


def started(programs: Path, source: str) -> str:
    """When the primary at `source` was started; "" if it does not answer or is none."""
    argv = [str(programs / "psql"), "-XAtq", "-d", source, "-c", STARTED]
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "3"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=ASK_S, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def present(programs: Path, source: str) -> str:
    """As `started`, once the source answers; "" if it has not done so for AWAY_S."""
    deadline = time.monotonic() + AWAY_S
    while not (found := started(programs, source)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return found


def rewind(programs: Path, words: list[str]) -> str:
    """Run pg_rewind once; "" if it worked, else the errors that it printed."""
    argv = [*LEASHED, str(programs / "pg_rewind"), *words]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr)
    sys.stderr.flush()
    if done.returncode == 0:
        return ""
    return "; ".join(re.findall(r"(?:error|fatal): (.*)", done.stderr)) or f"pg_rewind left with {done.returncode}"


def timeline(programs: Path, data: Path) -> str:
    """The timeline that the data is on, as its control file has it; "unknown" if that cannot be read."""
    argv = [str(programs / "pg_controldata"), "-D", str(data)]
    done = subprocess.run(argv, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    found = re.search(r"^Latest checkpoint's TimeLineID: +(\d+)$", done.stdout, re.MULTILINE)
    return found[1] if found else "unknown"


def why_not(data: Path) -> str:
    """Why this directory must not be moved; "" if it may be."""
    if not (data / "PG_VERSION").is_file():
        return "it holds no database"
    linked = [path for path in (data / "pg_wal", *(data / "pg_tblspc").iterdir()) if path.is_symlink()]
    if linked:
        return f"{linked[0]} leads out of it, and would be left behind"
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if os.path.samefile(f"/proc/{pid}/cwd", data):
            return f"process {pid} runs in it"
    except (OSError, ValueError, IndexError):
        pass  # no such file, no such process, or another user's
    return ""


def size(data: Path) -> int:
    """The bytes that a directory takes on the disk."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, files in os.walk(data) for name in files
    )


def sync(path: Path) -> None:
    """Bring a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_aside(data: Path, on_timeline: str, reason: str, now: float) -> Path:
    """Rename the directory; where it is then. Raises OSError, and then it is where it was."""
    name = f"{data.name}.aside-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-timeline-{on_timeline}"
    mark = {"name": name, "moved": int(now), "bytes": size(data), "reason": reason}
    (data / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    sync(data / MARK)
    sync(data)
    target = data.with_name(name)
    data.rename(target)
    sync(data.parent)
    return target


def main(programs: Path, words: list[str]) -> int:
    """The exit status for Patroni: 0 if the data was rewound."""
    data, source = Path(words[words.index("-D") + 1]), words[words.index("--source-server") + 1]
    failed = 0
    for _ in range(RUNS):
        if not (before := present(programs, source)):
            print(f"the source has not answered for {AWAY_S:g} s: the data stays as it is", file=sys.stderr)
            return 1
        reason = rewind(programs, words)
        if not reason:
            (data / MARK).unlink(missing_ok=True)  # of a move that was broken off before the rename
            return 0
        # A source that was away for a moment, or is another server now, is no proof against the data.
        failed = failed + 1 if started(programs, source) == before else 0
        if failed == FAILURES:
            print(f"{data} cannot be rewound: {give_way(data, programs, reason)}", file=sys.stderr)
            return 1
    print(f"the source did not stay during {RUNS} runs: the data stays as it is", file=sys.stderr)
    return 1


def give_way(data: Path, programs: Path, reason: str) -> str:
    """Move the data aside; what became of it."""
    if refused := why_not(data):
        return f"it stays where it is, since {refused}"
    try:
        return f"moved to {move_aside(data, timeline(programs, data), reason, time.time())}"
    except OSError as error:
        return f"it stays where it is, since it cannot be moved aside: {error}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
