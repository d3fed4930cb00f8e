"""The ways in which a failure takes writes away."""

from __future__ import annotations

from enum import StrEnum


class Mechanism(StrEnum):
    """How a failure takes writes away; the scenario says which one it provokes."""

    SILENCE = "silence"  # the primary's node, or all of its site, says nothing any more
    FROZEN = "frozen"  # the same, but its kernel still accepts connections, so nobody is refused
    CRASH = "crash"  # PostgreSQL is gone, its Patroni lives
    HUNG = "hung"  # the postmaster takes no connection any more and is ended for it
    SWITCHOVER = "switchover"
    PROXY = "proxy"  # one site's proxy dies and is started again
    NO_STANDBY = "no standby"  # refused at once while it lasts; this is the time until the refusal
    COLD_START = "cold start"
    NONE = "none"  # nothing that a write needs is lost
