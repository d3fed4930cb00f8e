"""The two timing profiles: how soon silence counts as failure. Seconds, and durations of Consul and Patroni.

`fast` was measured in the lab. With a gossip probe every 500 ms, a dead member was declared failed after 2.7 to 3.2 s,
with 300 ms after 1.5 to 2.5 s, and with 200 ms after 0.8 to 1.2 s. With a `loop_wait` of one second, nodeside/wake.py
wakes Patroni in time. A ttl of 20 is Consul's minimum.

`relaxed` has Consul's WAN defaults and Patroni's defaults, except `loop_wait`: with 10 s and a silent `dcs`, keepalives
would be 20 s apart, too late for the fence at 0.6 of the ttl (18 s). Its `peer_probe_ms` leaves time for one lost
packet, which TCP sends again after a second (RFC 6298), and for a round trip of half a second. In `fast` it is several
round trips of a link below 50 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from tercet.inventory.model import Inventory

FENCE = 0.6
"""Share of the ttl. The rest is needed because Consul may count from a renewal seconds before the keepalive."""


@dataclass(frozen=True, slots=True)
class Timing:
    ttl: int
    loop_wait: int
    retry_timeout: int
    gossip_probe_interval_ms: int
    gossip_probe_timeout_ms: int
    gossip_interval_ms: int
    suspicion_mult: int
    peer_probe_ms: int  # the time that the dead-peer guard waits for a peer's answer
    replication_timeout_s: int  # wal_sender_timeout and wal_receiver_timeout
    nomad_heartbeat_grace_s: int
    nomad_min_heartbeat_ttl_s: int
    nomad_failover_heartbeat_ttl_s: int

    @property
    def keepalive_s(self) -> float:
        """The longest time between two keepalives of a healthy Patroni: it sleeps for `loop_wait`, tries to reach `dcs`
        for `retry_timeout`, and in failsafe mode asks the members, which takes at most 2 s (ha.py)."""
        return self.loop_wait + self.retry_timeout + 2.0

    @property
    def fence_s(self) -> float:
        """A primary without a keepalive for this many seconds is killed, well before its leader key can expire."""
        return FENCE * self.ttl


FAST = Timing(20, 1, 5, 200, 100, 100, 3, 200, 5, 5, 5, 10)
RELAXED = Timing(30, 5, 10, 1000, 500, 200, 4, 1500, 10, 10, 10, 60)


def timing_of(inventory: Inventory) -> Timing:
    """The profile, overridden by the inventory's own Patroni values."""
    profile = FAST if inventory.timing == "fast" else RELAXED
    own = inventory.patroni
    return Timing(
        profile.ttl if own.ttl is None else own.ttl,
        profile.loop_wait if own.loop_wait is None else own.loop_wait,
        profile.retry_timeout if own.retry_timeout is None else own.retry_timeout,
        profile.gossip_probe_interval_ms,
        profile.gossip_probe_timeout_ms,
        profile.gossip_interval_ms,
        profile.suspicion_mult,
        profile.peer_probe_ms,
        profile.replication_timeout_s,
        profile.nomad_heartbeat_grace_s,
        profile.nomad_min_heartbeat_ttl_s,
        profile.nomad_failover_heartbeat_ttl_s,
    )
