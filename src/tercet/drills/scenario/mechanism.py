"""The ways in which a failure stops writes."""

from __future__ import annotations

from enum import StrEnum


class Mechanism(StrEnum):
    """How a failure stops writes. The scenario says which mechanism it provokes."""

    SILENCE = "silence"  # the primary's node, or its whole site, is silent
    FROZEN = "frozen"  # the same, but its kernel still accepts connections, so they are not refused
    CRASH = "crash"  # PostgreSQL is gone, but its Patroni runs
    HUNG = "hung"  # the postmaster accepts no connections and is killed for that reason
    SWITCHOVER = "switchover"
    PROXY = "proxy"  # one site's proxy dies and is started again
    NO_STANDBY = "no standby"  # writes are refused while it lasts; the figure is the time until the refusal
    COLD_START = "cold start"
    NONE = "none"  # nothing is lost that a write needs
