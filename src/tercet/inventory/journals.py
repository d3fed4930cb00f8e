"""The meaning of a component's log lines in the timeline of a drill.

Each rule is for one log line of one component, with the place in the source that prints it, in the versions that the
inventory pins. A line without a rule is left out, so after a change of wording the timeline may lack an event, but it
is never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class What(StrEnum):
    """The kinds of events, in the order of a failover."""

    SUSPECTED = "suspected"  # this node's probe of a member failed
    DECLARED_FAILED = "declared failed"  # this node's suspicion timed out
    MEMBER_FAILED = "member failed"  # this node heard or decided that a member failed
    MEMBER_JOINED = "member joined"
    ELECTION = "election"
    LEADER_ELECTED = "leader elected"
    LEADER_LOST = "leadership lost"
    HEALTH_CRITICAL = "health critical"  # with this, the Raft leader ends the sessions of a failed member
    GUARDED = "peer silent"  # from now on, the dead-peer guard answers for it
    ANSWERS = "peer answers"
    LOCK_RELEASED = "leader key released"
    LOCK_FREE = "leader key free"  # this Patroni sees that no member holds it
    LOCK_OWNER = "leader key owner"  # this Patroni sees a new holder
    LOCK_TAKEN = "leader key taken"
    PEER_SILENT = "member did not answer"  # a Patroni that wants to lead asked a member's REST API and got no answer
    PEER_ANSWERED = "member answered"  # the same, answered
    NOT_CANDIDATE = "not a candidate"
    DEMOTED = "demoted"
    CRASHED = "crashed"
    DCS_LOST = "dcs not accessible"
    FAILSAFE = "failsafe mode"
    SWITCHOVER_ASKED = "switchover asked"
    REWIND = "rewind"
    REBUILT = "rebuilt"  # the data directory was discarded and copied again
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
    HUNG = "hung, so killed"
    WOKEN = "Patroni woken"
    UNIT_DIED = "unit died"
    UNIT_STARTED = "unit started"


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that matches `pattern` means `what`: one of `What`, or a component's own word, which is only shown.

    Group 1 of the pattern, if it has one, is the subject of the event.
    """

    what: str
    pattern: re.Pattern[str]


def rules(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(what, re.compile(pattern)) for what, pattern in pairs)


@dataclass(frozen=True)
class UnitJournal:
    """The journal of one systemd unit. `component` is the component that writes it."""

    unit: str
    component: str
    rules: tuple[Rule, ...] = ()
    others: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict, hash=False)
    """Other components that write into it, and their rules."""
    systemd: tuple[Rule, ...] = ()
    """Rules for systemd's own lines about this unit, in addition to those for every unit."""
