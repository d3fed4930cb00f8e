"""The kernel's TCP settings on every node: how soon it sends a packet again, and how soon it detects a dead connection.

They are set before tailscaled starts, because a socket keeps the settings from the time when it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import File, Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node

SYSCTL = "/etc/sysctl.d/60-tercet.conf"

# TCP sends a lost packet again after at least 200 ms, to allow for receivers that acknowledge late, and each attempt
# doubles this time. On a link that loses 15 % of its packets in each direction, some statement of a busy session needs
# five attempts within a minute, which takes 3 s. Linux acknowledges within 40 ms or a round trip, so 50 ms after the
# round-trip time is enough. With the second setting, a session with few packets under way, such as one that waits for
# each answer, makes six attempts before the time-out doubles (not with the congestion control bbr). The first setting
# needs Linux 6.11.
_RESENDING = {"tcp_rto_min_us": 50_000, "tcp_thin_linear_timeouts": 1}

# After a link flapped, a connection may be known to only one side. It ends when the other side answers a keepalive with
# a reset. By default, the first keepalive is sent after two hours. A standby's walreceiver waited that long for the
# primary's first answer, because libpq has no time limit for this (seen). With a silent peer, it takes 3 + 6 s, so a
# link that loses every third packet does not end connections. Connections of Go programs and to PostgreSQL have their
# own limits.
_KEEPALIVES = {"tcp_keepalive_time": 3, "tcp_keepalive_intvl": 1, "tcp_keepalive_probes": 6}

TCP: Mapping[str, int] = {**_RESENDING, **_KEEPALIVES}

_LISTED = text_of(__package__, "tcp-settings.sh")


def tcp(node: Node) -> Iterable[Resource]:
    """Set the values now, and at each start by systemd, which ignores those that it cannot set (-)."""
    lines = "".join(f"-net.ipv4.{name} = {value}\n" for name, value in TCP.items())
    yield File(SYSCTL, lines.encode())
    yield Object(
        f"TCP of {node.name}",
        Exec(("sh", "-c", _LISTED, "sh", *TCP)),
        _differs,
        (Exec(("/usr/lib/systemd/systemd-sysctl", SYSCTL)),),
    )


def _differs(answer: Answer) -> str | None:
    if not answer.ok:
        return answer.why()
    found = dict(line.split() for line in answer.text.splitlines())
    wrong = [f"{name} is {value}, wanted {TCP[name]}" for name, value in found.items() if value != str(TCP[name])]
    return "; ".join(wrong) or None
