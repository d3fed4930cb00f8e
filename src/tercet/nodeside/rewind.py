"""Runs pg_rewind for Patroni. Data that cannot be rewound is moved aside, never deleted.

Patroni runs this program instead of pg_rewind (`postgresql.bin_name.pg_rewind`), with the same arguments. Patroni
itself would treat data that diverged and cannot be rewound in one of two ways: delete it, or start it as a standby that
can never follow. This program lets nodeside/aside.py move it aside. Patroni then finds no data and clones the primary.

Invariant: this program moves data only if pg_rewind has failed twice in a row against a primary that ran the whole
time: it answered before and after each run, with the same start time. If the primary is away, restarts or is being
replaced, the failure proves nothing: the data stays in its place and Patroni tries again.

While pg_rewind changes the data, and after an interrupted run, there is a mark next to the data. No server is started
on half-written data (components/patroni/postgres.sh and readonly.sh): seen when the source was cut off in the middle of
a rewind, configuration files were empty, and Patroni started a standby that waited forever. postgres.sh also moves
half-written data aside if Patroni does not rewind it although another node leads. The mark is removed only after a
successful run, or after the data was moved aside.

Arguments: the directory of PostgreSQL's programs, the program that moves aside and its settings, then the arguments of
pg_rewind.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time

FAILURES = 2  # in a row
RUNS = 6  # attempts with a source that is away or restarted; then Patroni gets an error, and tries again
ASK_S = 5.0  # seconds for a question to the source; Patroni's own take up to 3 s
AWAY_S = 10.0  # seconds that a source may be silent before Patroni gets an error: a dead primary is replaced by then
PAUSE_S = 0.5
STARTED = "SELECT pg_postmaster_start_time() WHERE NOT pg_is_in_recovery()"
# If this program or Patroni is killed, pg_rewind must not continue to write into data that Patroni then starts.
LEASHED = ("setpriv", "--pdeathsig", "KILL")
SYNC = "--sync-method=syncfs"  # one call for the whole disk, which has only the database, not one for each file


def started(programs: str, source: str) -> str:
    """The start time of the primary at `source`; "" if it does not answer or is not a primary."""
    argv = [f"{programs}/psql", "-XAtq", "-d", source, "-c", STARTED]
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "3"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=ASK_S, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def present(programs: str, source: str) -> str:
    """Like `started`, but waits until the source answers; "" if it does not answer for AWAY_S."""
    deadline = time.monotonic() + AWAY_S
    while not (found := started(programs, source)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return found


def rewind(programs: str, words: list[str]) -> str:
    """Run pg_rewind once. Returns "" if it worked, otherwise the errors that it printed."""
    argv = [*LEASHED, f"{programs}/pg_rewind", SYNC, *words]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr)
    sys.stderr.flush()
    if done.returncode == 0:
        return ""
    return "; ".join(re.findall(r"(?:error|fatal): (.*)", done.stderr)) or f"pg_rewind left with {done.returncode}"


def mark(data: str) -> None:
    """Write the mark that the data is being changed: the directory's inode, because the mark does not apply to data
    that comes later, the boot of the machine, and the hash of pg_control, which pg_rewind writes last. Raises OSError.
    """
    with open(f"{data}/global/pg_control", "rb") as file:
        control = hashlib.sha256(file.read()).hexdigest()
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with open(f"{data}.rewinding", "w") as file:
        file.write(f"{os.stat(data).st_ino} {boot} {control}\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(os.path.dirname(data), os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unmark(data: str) -> None:
    with contextlib.suppress(OSError):  # if a mark stays, its only effect is that a site without dcs serves no reads
        os.unlink(f"{data}.rewinding")


def main(programs: str, aside: list[str], words: list[str]) -> int:
    """Returns the exit status for Patroni: 0 if the data was rewound."""
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
        # If the source was away for a moment or is another server now, the failure does not mean that the data is bad.
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
