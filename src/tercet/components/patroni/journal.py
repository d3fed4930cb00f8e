"""The log lines of Patroni 4.0, PostgreSQL 17 and tercet's daemons for them (nodeside/)."""

from __future__ import annotations

from tercet.inventory.journals import UnitJournal, What, rules

PATRONI = rules(  # patroni/ha.py unless another file is named
    (What.LOCK_FREE, r"INFO: Lock owner: None; I am "),
    (What.LOCK_OWNER, r"INFO: Lock owner: (\S+); I am "),
    (What.LOCK_TAKEN, r"INFO: (?:promoted self to leader by acquiring session lock|acquired session lock as a leader)"),
    (What.LOCK_RELEASED, r"INFO: Leader key released"),
    (What.PEER_SILENT, r"WARNING: Request failed to (\S+): GET "),
    (What.PEER_ANSWERED, r"INFO: Got response from (\S+) http"),
    (What.CRASHED, r"INFO: (?:Primary crashed\. Failing over\.|stopped PostgreSQL to fail over after a crash)"),
    (What.CRASHED, r"ERROR: postmaster is not running"),  # postgresql/__init__.py
    (What.DEMOTED, r"INFO: (?:[Dd]emot(?:ed|ing) (?:self|primary).*)"),
    (What.NOT_CANDIDATE, r"INFO: following a different leader because i am not the healthiest node"),
    (What.NOT_CANDIDATE, r"INFO: following new leader after trying and failing to obtain lock"),
    (What.FAILSAFE, r"INFO: continue to run as a leader because failsafe mode is enabled"),
    (What.DCS_LOST, r"ERROR: Error communicating with DCS"),
    (What.SWITCHOVER_ASKED, r"INFO: received switchover request with leader=\S+ candidate=(\S+)"),  # api.py
    (What.REWIND, r"INFO: running pg_rewind from (.+)"),  # postgresql/rewind.py
    (What.REBUILT, r"INFO: (?:replica has been created using (\S+)|Removing data directory)"),  # bootstrap.py
)
POSTGRESQL = rules(
    (What.PROMOTE_ASKED, r"LOG:  received promote request"),  # xlogrecovery.c
    (What.NEW_TIMELINE, r"LOG:  selected new timeline ID: (\d+)"),  # xlog.c
    (What.READY, r"LOG:  database system is ready to accept connections"),  # postmaster.c
    (What.READY_READ_ONLY, r"LOG:  database system is ready to accept read-only connections"),
    (What.SHUTDOWN, r"LOG:  received (fast|immediate|smart) shutdown request"),
    (What.CRASHED, r"LOG:  \S.* \(PID \d+\) was terminated by signal (\d+)"),
    (What.STREAMING, r"LOG:  started streaming WAL from primary at (\S+)"),  # walreceiver.c
    (What.SYNC_CANDIDATE, r'LOG:  standby "([^"]+)" is now a (?:candidate for quorum )?synchronous standby'),
    (What.DISK_FULL, r"(?:ERROR|FATAL|PANIC):  could not (?:write|extend|create).*: No space left on device"),
)
STRICT = rules(
    (What.READ_ONLY, r"^read-only: "),
    (What.WRITABLE, r"^writable: "),
    (What.WAITERS_TERMINATED, r"^terminated (\d+) backends"),
)
WAKE = rules((What.WOKEN, r"^woke Patroni: (.+)"))
WATCHDOG = rules(
    (What.KILLED, r"^(?:the )?(patroni|postmaster) is killed: "),
    (What.FENCED, r"^(PostgreSQL) is fenced: "),
)


JOURNALS = (
    UnitJournal("patroni.service", "patroni", PATRONI, others={"postgresql": POSTGRESQL}),  # it has PostgreSQL's stderr
    UnitJournal("tercet-strict.service", "strict", STRICT),
    UnitJournal("tercet-watchdog.service", "watchdog", WATCHDOG),
    UnitJournal("tercet-wake.service", "wake", WAKE),
)
