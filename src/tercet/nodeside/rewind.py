"""Runs pg_rewind for Patroni. Data that cannot be rewound is moved aside, never deleted.

Patroni runs this in the place of pg_rewind (`postgresql.bin_name.pg_rewind`), with the same arguments. Patroni itself
knows two ways to treat data that diverged and cannot be rewound: delete it, or start it as it is, a standby that can
never follow. Here nodeside/aside.py moves it aside. Patroni then finds no data and clones the primary.

Invariant: data is moved only when pg_rewind has failed twice in a row against a primary that ran throughout: it
answered before and after each run, with the same start time. A primary that is away, restarts or is being replaced
proves nothing: then the data stays where it is and Patroni tries again.

While pg_rewind changes the data, and after a run that was broken off, a mark beside them says so: what is half-written
must not be read (components/patroni/readonly.py). Only a run that worked, or data that were moved aside, remove it.

Arguments: the directory of PostgreSQL's programs, the program that moves aside and its settings, then the arguments of
pg_rewind.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time

FAILURES = 2  # in a row
RUNS = 6  # of a source that is away or restarted between them: Patroni is told, and tries again
ASK_S = 5.0  # a question to the source; Patroni's own take up to 3 s
AWAY_S = 10.0  # so long a source may be silent before Patroni is told: by then a dead primary has been replaced
PAUSE_S = 0.5
STARTED = "SELECT pg_postmaster_start_time() WHERE NOT pg_is_in_recovery()"
# If this program or Patroni is killed, pg_rewind must not go on writing into data that Patroni then starts.
LEASHED = ("setpriv", "--pdeathsig", "KILL")
SYNC = "--sync-method=syncfs"  # one call for the whole disk, which is the database's, instead of one for each file


def started(programs: str, source: str) -> str:
    """When the primary at `source` was started; "" if it does not answer or is none."""
    argv = [f"{programs}/psql", "-XAtq", "-d", source, "-c", STARTED]
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "3"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=ASK_S, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def present(programs: str, source: str) -> str:
    """As `started`, once the source answers; "" if it has not done so for AWAY_S."""
    deadline = time.monotonic() + AWAY_S
    while not (found := started(programs, source)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return found


def rewind(programs: str, words: list[str]) -> str:
    """Run pg_rewind once; "" if it worked, else the errors that it printed."""
    argv = [*LEASHED, f"{programs}/pg_rewind", SYNC, *words]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr)
    sys.stderr.flush()
    if done.returncode == 0:
        return ""
    return "; ".join(re.findall(r"(?:error|fatal): (.*)", done.stderr)) or f"pg_rewind left with {done.returncode}"


def mark(data: str) -> None:
    """Say that the data is being changed. It holds the directory's inode: data that came later is whole. Raises
    OSError."""
    with open(f"{data}.rewinding", "w") as file:
        file.write(f"{os.stat(data).st_ino}\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(os.path.dirname(data), os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unmark(data: str) -> None:
    with contextlib.suppress(OSError):  # one that stays keeps a silent site from reading, no more
        os.unlink(f"{data}.rewinding")


def main(programs: str, aside: list[str], words: list[str]) -> int:
    """The exit status for Patroni: 0 if the data was rewound."""
    source, data = words[words.index("--source-server") + 1], words[words.index("-D") + 1]
    failed = 0
    for _ in range(RUNS):
        if not (before := present(programs, source)):
            print(f"the source has not answered for {AWAY_S:g} s: the data stays as it is", file=sys.stderr)
            return 1
        try:
            mark(data)
        except OSError as error:
            print(f"cannot mark that the data is being rewound, so it stays as it is: {error}", file=sys.stderr)
            return 1
        reason = rewind(programs, words)
        if not reason:
            unmark(data)
            return 0
        # A source that was away for a moment, or is another server now, is no proof against the data.
        failed = failed + 1 if started(programs, source) == before else 0
        if failed == FAILURES:
            moved = subprocess.run([sys.executable, "-I", *aside, "move", reason], check=False)
            if moved.returncode == 0:
                unmark(data)
            return 1
    print(f"the source did not stay during {RUNS} runs: the data stays as it is", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:4], sys.argv[4:]))
