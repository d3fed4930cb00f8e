"""What happened when, in the components' own words: lines of the nodes' journals to events. Pure.

Each rule is one log line of one component, with the place in its source that prints it, as read in the versions
that the inventory pins: Consul 1.22 (memberlist 0.5, serf 0.10, raft 1.7), Nomad 1.11, Patroni 4.0,
PostgreSQL 17, Consul Template 0.42, PgCat 5b03881, pgpool-II 4.x, systemd 257. A line that no rule knows is left
out, so a changed wording makes the picture poorer, never wrong.

Times are the journal's: when the line reached journald on its node, within milliseconds of its printing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class What(StrEnum):
    """The kinds of events, in the order in which a failover brings them."""

    SUSPECTED = "suspected"  # this node's probe of a member failed
    DECLARED_FAILED = "declared failed"  # this node's suspicion ran out
    MEMBER_FAILED = "member failed"  # this node heard or decided that a member failed
    MEMBER_JOINED = "member joined"
    ELECTION = "election"
    LEADER_ELECTED = "leader elected"
    LEADER_LOST = "leadership lost"
    HEALTH_CRITICAL = "health critical"  # the Raft leader ends the sessions of a failed member with this
    GUARDED = "peer silent"  # the dead-peer guard answers for it from now on
    ANSWERS = "peer answers"
    LOCK_RELEASED = "leader key released"
    LOCK_FREE = "leader key free"  # this Patroni sees that nobody holds it
    LOCK_OWNER = "leader key owner"  # this Patroni sees a new holder
    LOCK_TAKEN = "leader key taken"
    PEER_SILENT = "member did not answer"  # a Patroni that wants to lead asked a member's REST API in vain
    PEER_ANSWERED = "member answered"  # the same, answered
    NOT_CANDIDATE = "not a candidate"
    DEMOTED = "demoted"
    CRASHED = "crashed"
    DCS_LOST = "dcs not accessible"
    FAILSAFE = "failsafe mode"
    SWITCHOVER_ASKED = "switchover asked"
    REWIND = "rewind"
    REBUILT = "rebuilt"  # the data directory was thrown away and copied anew
    PROMOTE_ASKED = "promote asked"
    NEW_TIMELINE = "new timeline"
    READY = "accepting writes"
    READY_READ_ONLY = "accepting reads"
    SHUTDOWN = "shutting down"
    STREAMING = "streaming"
    SYNC_CANDIDATE = "counts for commits"
    DISK_FULL = "disk full"
    CHECK_CRITICAL = "check critical"
    CHECK_SYNCED = "check synced"  # the state of a check changed and the servers know it
    RENDERED = "template rendered"
    COMMAND = "command run"
    PROXY_READY = "proxy ready"  # reloaded, or started again
    READ_ONLY = "read-only"
    WRITABLE = "writable"
    WAITERS_TERMINATED = "waiters terminated"
    NODE_EXPIRED = "node expired"  # Nomad missed a client's heartbeat
    LEADER_HANDED = "leadership handed over"
    KILLED = "killed by the watchdog"
    FENCED = "fenced"
    WOKEN = "Patroni woken"
    UNIT_DIED = "unit died"
    UNIT_STARTED = "unit started"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a journal. `unix`: seconds by the node's clock; `unit` is what the line is from or about."""

    unix: float
    unit: str
    manager: bool  # printed by systemd about the unit
    message: str


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that a component said on a node, at `unix` seconds of that node's clock."""

    unix: float
    node: str
    component: str
    what: What
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    what: What
    pattern: re.Pattern[str]  # its group 1, if there is one, is the subject


def _rules(*pairs: tuple[What, str]) -> tuple[Rule, ...]:
    return tuple(Rule(what, re.compile(pattern)) for what, pattern in pairs)


# Shared by Consul and Nomad. hclog prints `… [INFO]  agent.server: message: key=value`.
GOSSIP = _rules(
    (What.SUSPECTED, r"memberlist: Suspect (\S+) has failed, no acks received"),  # memberlist state.go
    (What.DECLARED_FAILED, r"memberlist: Marking (\S+) as failed, suspect timeout reached"),
    (What.MEMBER_FAILED, r"serf: EventMemberFailed: (\S+)"),  # serf serf.go
    (What.MEMBER_JOINED, r"serf: EventMemberJoin: (\S+)"),
    (What.ELECTION, r"heartbeat timeout reached, starting election"),  # raft raft.go
    (What.LEADER_ELECTED, r"cluster leadership acquired"),  # consul, nomad leader.go
    (What.LEADER_LOST, r"cluster leadership lost"),
)
CONSUL = (
    *GOSSIP,
    *_rules(
        (What.HEALTH_CRITICAL, r"member failed, marking health critical: member=(\S+)"),  # leader_registrator_v1.go
        (What.CHECK_CRITICAL, r"Check is now critical: check=(?:service:)?(\S+)"),  # agent/checks/check.go
        (What.CHECK_SYNCED, r"Synced check: check=(?:service:)?(\S+)"),  # agent/local/state.go
    ),
)
NOMAD = (*GOSSIP, *_rules((What.NODE_EXPIRED, r"node TTL expired: node_id=(\S+)")))  # nomad/heartbeat.go

PATRONI = _rules(  # patroni/ha.py unless another file is named
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
POSTGRESQL = _rules(
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
CONSUL_TEMPLATE = _rules(
    (What.RENDERED, r'\(runner\) rendered ".*" => "([^"]+)"'),  # manager/runner.go
    (What.COMMAND, r"\(runner\) executing command (.+) from "),
)
PROXY = _rules(
    (What.PROXY_READY, r"Reloading config"),  # PgCat main.rs
    (What.PROXY_READY, r"pgpool-II successfully started"),  # pgpool_main.c
)
ROUTES = _rules(  # nodeside/routes.py
    (What.PROXY_READY, r"^198\.18\.0\.1 : (\d\S*)"),  # "nowhere" is no place for a write
    (What.GUARDED, r"^([\d.]+) is silent"),
    (What.ANSWERS, r"^([\d.]+) answers$"),
)
GUARD = _rules((What.GUARDED, r"^silent \S+ (\S+)"), (What.ANSWERS, r"^answers again \S+ (\S+)"))
STRICT = _rules(
    (What.READ_ONLY, r"^read-only: "),
    (What.WRITABLE, r"^writable: "),
    (What.WAITERS_TERMINATED, r"^terminated (\d+) backends"),
)
PLACEMENT = _rules((What.LEADER_HANDED, r"^leader handed to ([^\s:]+)"))
WAKE = _rules((What.WOKEN, r"^woke Patroni: (.+)"))
WATCHDOG = _rules(
    (What.KILLED, r"^(?:the )?(patroni|postmaster) is killed: "),
    (What.FENCED, r"^(PostgreSQL) is fenced: "),
)

SYSTEMD = _rules(
    (What.UNIT_DIED, r"Main process exited, code=(?:killed|dumped|exited), status=(\S+)"),
    (What.UNIT_STARTED, r"^Started "),
)
SYSTEMD_PROXY = _rules((What.PROXY_READY, r"^(?:Reloaded|Started) "))

# By unit: the component's name, and its rules.
UNITS: dict[str, tuple[str, tuple[Rule, ...]]] = {
    "consul-dcs.service": ("dcs", CONSUL),
    "consul.service": ("consul", CONSUL),
    "nomad.service": ("nomad", NOMAD),
    "patroni.service": ("patroni", PATRONI),
    "consul-template.service": ("consul-template", CONSUL_TEMPLATE),
    "pgcat.service": ("proxy", PROXY),
    "pgpool2.service": ("proxy", PROXY),
    "tercet-routes.service": ("proxy", ROUTES),
    "tercet-guard.service": ("guard", GUARD),
    "tercet-strict.service": ("strict", STRICT),
    "tercet-placement.service": ("placement", PLACEMENT),
    "tercet-watchdog.service": ("watchdog", WATCHDOG),
    "tercet-wake.service": ("wake", WAKE),
    "tailscaled.service": ("tailscale", ()),
}


def command(since_unix: float) -> tuple[str, ...]:
    """The command whose output `events` reads: all units above, from that second of the node's clock on."""
    units = [word for unit in UNITS for word in ("--unit", unit)]
    return (
        "journalctl",
        "--output=json",
        "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT",
        "--no-pager",
        "--quiet",
        f"--since=@{int(since_unix)}",
        *units,
    )


def events(text: str, node: str) -> list[TimelineEvent]:
    """What the components of a node said, by time. What is repeated at each look is told when it changes."""
    found = sorted((event for line in lines(text) for event in _told(line, node)), key=lambda event: event.unix)
    return list(_without_repetition(found))


def lines(text: str, unit: str = "") -> Iterator[Line]:
    """The lines of `journalctl -o json`, or of `-o short-unix` of the one unit that is named."""
    for raw in text.splitlines():
        line = _from_json(raw) if raw.startswith("{") else _from_short(raw, unit)
        if line is not None:
            yield line


def parse_unit(text: str, node: str, unit: str) -> list[TimelineEvent]:
    """The same as `events` for the journal of one unit, in either format."""
    return list(_without_repetition([event for line in lines(text, unit) for event in _told(line, node)]))


def _from_json(raw: str) -> Line | None:
    try:
        entry: dict[str, Any] = json.loads(raw)
        unix = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError):
        return None
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # journald's way to write bytes that are no UTF-8
        message = bytes(message).decode("utf-8", "replace")
    if not isinstance(message, str):
        return None
    about = entry.get("UNIT")
    return Line(unix, str(about or entry.get("_SYSTEMD_UNIT", "")), bool(about), message)


_SHORT = re.compile(r"^(\d+\.\d+) \S+ ([^\s:\[]+)(?:\[\d+\])?: (.*)$")


def _from_short(raw: str, unit: str) -> Line | None:
    match = _SHORT.match(raw)
    if match is None:
        return None
    return Line(float(match[1]), unit, match[2] == "systemd", match[3])


def _told(line: Line, node: str) -> Iterable[TimelineEvent]:
    component, rules = UNITS.get(line.unit, ("", ()))
    if not component:
        return
    if line.manager:
        rules = SYSTEMD_PROXY + SYSTEMD if component == "proxy" else SYSTEMD
    candidates = [(component, rule) for rule in rules]
    if component == "patroni" and not line.manager:  # PostgreSQL writes into Patroni's journal
        candidates += [("postgresql", rule) for rule in POSTGRESQL]
    for name, rule in candidates:
        match = rule.pattern.search(line.message)
        if match is not None:
            subject = match[1] if match.lastindex else ""
            yield TimelineEvent(line.unix, node, name, rule.what, subject, line.message.strip())
            return


def _without_repetition(found: Iterable[TimelineEvent]) -> Iterator[TimelineEvent]:
    """Patroni tells the lock's holder and Consul a critical check at each look: only changes are news."""
    holder: dict[str, tuple[What, str]] = {}
    critical: set[tuple[str, str]] = set()
    for event in found:
        check = (event.node, event.subject)
        if event.what in (What.LOCK_OWNER, What.LOCK_FREE):
            if holder.get(event.node) == (event.what, event.subject):
                continue
            holder[event.node] = (event.what, event.subject)
        elif event.what is What.CHECK_CRITICAL:
            if check in critical:
                continue
            critical.add(check)
        elif event.what is What.CHECK_SYNCED:
            critical.discard(check)
        yield event
