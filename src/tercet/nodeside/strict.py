"""Enforces strict mode: if no standby can confirm a write, the primary refuses writes instead of hanging.

Runs on every database node (`tercet-strict.service`), as root, with Debian's psycopg. Argument: a JSON file {"needed":
standbys per commit, "standbys": the names of the other database nodes, "port": PostgreSQL's port, "full": a file that
exists while the disk is full, "creating": one that exists while Patroni creates the cluster, "dcs": endpoint, "scope":
"service/NAME", "node": …}.

PostgreSQL alone lets commits hang when no standby is left. It reports a *cancelled* wait (a driver's statement time-out
sends a CancelRequest) as success: an acknowledged write that no standby has. So this program checks four times a second
on the primary:

- If fewer than `needed` standbys confirm in six polls in a row (1.5 s), it sets `default_transaction_read_only` to on.
  New writes fail at once with SQLSTATE 25006; reads continue. It does not act sooner, because a new primary has no
  confirming standby until the first one follows it, a second after the promotion, and commits in that second should
  wait instead of fail. The setting is changed once. If PostgreSQL does not have it in force after two seconds, its
  files are loaded again.
- Only the other database nodes count. While Patroni knows no standby, it names `*` as synchronous, and everything that
  receives WAL confirms commits: a pg_basebackup whose clone is useless until it is complete (seen), a pg_receivewal.
- A standby that is connected but has confirmed nothing for 8 polls (2 s) counts as gone. PostgreSQL itself drops a
  frozen standby only after wal_sender_timeout (5 s), too late to refuse writes within 5 s.
- While writes are refused, backends that wait for a standby are terminated. Their clients lose the connection and so
  learn the truth: the outcome is unknown.
- Writes are also refused while the disk is full (room.py reports this). They would use the last space for WAL, and
  without that PostgreSQL panics.
- A standby has the setting, too. So a new primary refuses writes until a standby streams from it and its timeline is
  recorded in `dcs` (timeline.py says why).
- When there are enough standbys and room again, the setting is undone in the same poll, without help from a person.
- If a backend has waited for a standby in two polls in a row, CancelRequests from the network are refused with a reset
  (nftables) until no backend waits or the node is a standby. A cancelled commit would be reported as success.
- Once a second, a few bytes of WAL are written and flushed. If the primary is idle, a standby after pg_rewind waits for
  a position 24 bytes past the flushed WAL, forever (seen: 4 minutes, both standbys). Without standbys there are no
  writes, and without writes there are no standbys.

Not covered: a CancelRequest within the first two polls (0.5 s) of a wait, one inside TLS, and one from the node itself
(`pg_cancel_backend` by a superuser); a client that executes `SET default_transaction_read_only = off` (its commit waits
and is terminated at the next poll, so it is never acknowledged).

The setting is in postgresql.auto.conf, so it survives a restart and is copied with a base backup. That is safe, because
read-only is the safe state. This program undoes the setting on a primary, no matter who made it. It does not change
other files.

While nft does not work, CancelRequests are not refused, but everything else works. systemd restarts this program if it
hangs, for example because its own backend is stuck.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import time
from typing import Any

import psycopg

from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run
from tercet.nodeside.strict_pace import HEARTBEAT_S, LOOK_S, SHORT_LOOKS, SILENT_LOOKS
from tercet.nodeside.timeline import Recorder

GLANCE_S = 0.02  # seconds between two looks for the first standby of a new primary
SETTLE_LOOKS = 8  # polls (two seconds) after a reload until it counts as lost
NFT_S = 1.0  # seconds; writes wait while nft hangs, so this is short
SHIELD_AGAIN_S = 10.0
TABLE = "inet tercet_strict"
# A CancelRequest is 16 bytes: its length (16) and the code 80877102, see PostgreSQL's protocol documentation.
CANCEL_REQUEST = "@ih,0,64 0x0000001004d2162e"

# This session gets the setting from the files like all others, so it knows what is in force. The setting does not
# prevent its work: ALTER SYSTEM and the heartbeat are allowed in a read-only transaction.
LOOK = """
WITH said AS (
    SELECT lower(setting) IN ('on', 'true', 't', 'yes', 'y', '1') AS read_only, sourcefile, applied
    FROM pg_file_settings WHERE name = 'default_transaction_read_only')
SELECT pg_is_in_recovery(),
       current_setting('default_transaction_read_only') = 'on',
       EXISTS (SELECT FROM said WHERE read_only AND sourcefile LIKE '%%/postgresql.auto.conf'),
       EXISTS (SELECT FROM said WHERE read_only AND applied),
       (SELECT json_object_agg(pid, reply_time::text) FROM pg_stat_replication
        WHERE state = 'streaming' AND sync_state IN ('quorum', 'sync') AND application_name = ANY(%s)),
       (SELECT array_agg(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep')
"""
TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
HISTORY = "SELECT coalesce(pg_read_file(%s, true), '')"
STREAMING = """
SELECT FROM pg_stat_replication
WHERE state = 'streaming' AND sync_state IN ('quorum', 'sync') AND application_name = ANY(%s)
"""


def connect(port: int) -> psycopg.Connection[Any]:
    """A superuser session over the local socket. The server checks the effective user, so it is `postgres` here."""
    os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        # This session must not wait for a standby, nor for a server that is starting.
        return psycopg.connect(
            f"host=/run/postgresql port={port} user=postgres dbname=postgres connect_timeout=2 "
            "application_name=tercet-strict options='-c synchronous_commit=local -c statement_timeout=3s'",
            autocommit=True,
        )
    finally:
        os.seteuid(0)


def shield(port: int, up: bool) -> None:
    """Refuse CancelRequests from the network, or let them through again. Raises ProgramError if nothing changed."""
    rule = f"tcp dport {port} {CANCEL_REQUEST} reject with tcp reset" if up else ""
    script = f"""
        table {TABLE} {{}}
        delete table {TABLE}
        table {TABLE} {{
            chain cancels {{
                type filter hook input priority 0
                {rule}
            }}
        }}
    """
    run(["nft", "-f", "-"], script, timeout=NFT_S)


class SilentStandbys:
    """For how many polls each standby has confirmed nothing.

    An answer counts as new if it differs from the last one. Its time is not used, because it is from the standby's
    clock.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[str | None, int]] = {}  # by walsender: its last answer, polls since then

    def speaking(self, replies: dict[str, str | None]) -> int:
        """Count one poll. Returns how many of these walsenders' standbys have answered within SILENT_LOOKS."""
        before = self._last
        self._last = {}
        for pid, reply in replies.items():
            known, looks = before.get(pid, (None, 0))
            self._last[pid] = (reply, looks + 1 if pid in before and reply == known else 0)
        return sum(looks < SILENT_LOOKS for _, looks in self._last.values())


class Strict:
    """The state between two polls."""

    def __init__(
        self, needed: int, standbys: list[str], port: int, full: str, recorder: Recorder, *, creating: str
    ) -> None:
        self._needed, self._standbys = needed, standbys
        self._recorder = recorder
        self._recorded = False  # whether the timeline of this primary is in `dcs`
        self._fresh = False  # whether this is a new primary that waits for its first standby
        self._unrecorded = ""  # why not, as last logged
        self._port = port
        self._full = full
        self._creating = creating
        self._short = 0  # polls in a row with too few standbys
        self._waiting: set[int] = set()  # backends that waited at the last poll
        self._silence = SilentStandbys()
        self._shielded: bool | None = None  # None: unknown, because an earlier process may have left it installed
        self._shield_next = 0.0
        self._beat = 0.0
        self._settling = 0  # polls until PostgreSQL must have loaded the last change
        self._said: str | None = None  # the state last logged

    def poll(self, connection: psycopg.Connection[Any]) -> None:
        if os.path.exists(self._creating):  # Patroni could not make the roles on a read-only server
            self._short = 0
            return
        row = connection.execute(LOOK, (self._standbys,)).fetchone()
        if row is None:
            return
        standby, in_force, ours, in_files, replies, waiting = row
        if standby:
            self._short = 0
            self._waiting = set()
            self._recorded = self._fresh = False
            self._keep_read_only(connection, " until this node leads", ours, in_files, in_force)
            self._guard_cancels(False)
            return
        self._heartbeat(connection)
        self._short = 0 if self._silence.speaking(replies or {}) >= self._needed else self._short + 1
        alone = self._short >= SHORT_LOOKS
        self._fresh = self._short > 0 and ours and not self._recorded
        full = os.path.exists(self._full)
        if alone or full:
            why = ": the disk is full" if full else ": no standby confirms writes"
            self._keep_read_only(connection, why, ours, in_files, in_force)
        elif self._short == 0 and (not ours or self._record(connection)):
            self._keep_read_only(connection, "", ours, in_files, in_force)
        if alone and waiting:
            connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (waiting,))
            print(f"terminated {len(waiting)} backends that waited for a standby", flush=True)
        stuck = set(waiting or ()) & self._waiting
        self._waiting = set(waiting or ())
        self._guard_cancels(bool(stuck))

    def pause(self, connection: psycopg.Connection[Any], seconds: float) -> None:
        """Wait until the next poll, which comes earlier if a new primary gets its first standby."""
        end = time.monotonic() + seconds
        while self._fresh and time.monotonic() < end:
            if connection.execute(STREAMING, (self._standbys,)).fetchone() is not None:
                return
            time.sleep(GLANCE_S)
        time.sleep(max(0.0, end - time.monotonic()))

    def _record(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether the timeline of this primary is recorded in `dcs`. The first timeline needs no record."""
        if self._recorded:
            return True
        (timeline,) = connection.execute(TIMELINE).fetchone() or ("1",)
        problem = ""
        if int(timeline, 16) > 1:
            (history,) = connection.execute(HISTORY, (f"pg_wal/{timeline}.history",)).fetchone() or ("",)
            problem = self._recorder.record(int(timeline, 16), history)
        if problem and problem != self._unrecorded:
            print(f"the timeline cannot be recorded: {problem}", flush=True)
        self._unrecorded = problem
        self._recorded = not problem
        return self._recorded

    def _heartbeat(self, connection: psycopg.Connection[Any]) -> None:
        if time.monotonic() - self._beat >= HEARTBEAT_S:
            connection.execute("SELECT pg_logical_emit_message(false, 'tercet', '', true)")
            self._beat = time.monotonic()

    def _keep_read_only(
        self, connection: psycopg.Connection[Any], why: str, ours: bool, in_files: bool, in_force: bool
    ) -> None:
        """Change the setting if it is wrong. Without a reason, `why`, writes are allowed.

        `ours` is the value in postgresql.auto.conf, `in_files` the result of all files, and `in_force` the value that
        PostgreSQL has loaded.
        """
        on = bool(why)
        self._settling = max(0, self._settling - 1)
        if ours is not on:
            verb = "SET default_transaction_read_only = on" if on else "RESET default_transaction_read_only"
            connection.execute(f"ALTER SYSTEM {verb}")
        elif in_files is in_force or self._settling:
            return
        connection.execute("SELECT pg_reload_conf()")
        self._settling = SETTLE_LOOKS
        if self._said != why:
            print(f"read-only{why}" if on else "writable: standbys confirm writes, and there is room", flush=True)
            self._said = why

    def _guard_cancels(self, wanted: bool) -> None:
        if wanted == self._shielded or time.monotonic() < self._shield_next:
            return
        try:
            shield(self._port, wanted)
            self._shielded = wanted
        except ProgramError as error:
            print(error, flush=True)
            self._shield_next = time.monotonic() + SHIELD_AGAIN_S


def main(config: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    recorder = Recorder(Endpoint(**config["dcs"]), config["scope"], config["node"])
    strict = Strict(
        config["needed"], config["standbys"], config["port"], config["full"], recorder, creating=config["creating"]
    )
    said = ""
    while True:
        notify("READY=1\nWATCHDOG=1")
        try:
            with connect(config["port"]) as connection:
                print("watching", flush=True)
                while True:
                    started = time.monotonic()
                    strict.poll(connection)
                    notify("READY=1\nWATCHDOG=1")
                    said = ""
                    strict.pause(connection, max(GLANCE_S, LOOK_S - (time.monotonic() - started)))
        except psycopg.Error as error:
            # PostgreSQL starts, stops or is gone; Patroni takes care of that.
            reason = (str(error).strip().splitlines() or ["no connection"])[0]
            if reason != said:  # once
                said = reason
                print(said, flush=True)
            time.sleep(LOOK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
