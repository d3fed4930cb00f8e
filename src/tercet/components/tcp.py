"""The kernel's settings of TCP on every node: how soon it sends again, and how soon it notices a dead connection.

They come before tailscaled, since a socket keeps what was set when it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import File, Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node

SYSCTL = "/etc/sysctl.d/60-tercet.conf"

# What a bad line lost is sent again by TCP after 200 ms at the least, for receivers that acknowledge late, and each
# attempt doubles that. On a line that loses 15 % of its packets each way, some statement of a busy session needs five
# attempts within a minute, which takes 3 s. Linux acknowledges within 40 ms or a round trip, so 50 ms above the round
# trip suffice. And a session with few packets under way, such as one that waits for each answer, makes six attempts
# before it doubles the time-out (with the congestion control bbr it does not). The first needs Linux 6.11.
_RESENDING = {"tcp_rto_min_us": 50_000, "tcp_thin_linear_timeouts": 1}

# A connection that only one side knows, after a link that flapped, ends when the other side answers a keepalive with a
# reset. By default the first is sent after two hours: a standby's walreceiver, whose connecting has no time limit in
# libpq, waited for the greeting of the primary as long (seen). With a silent peer it takes 3 + 6 s: a line that loses
# every third packet ends nothing. Connections of Go programs and to PostgreSQL have limits of their own.
_KEEPALIVES = {"tcp_keepalive_time": 3, "tcp_keepalive_intvl": 1, "tcp_keepalive_probes": 6}

TCP: Mapping[str, int] = {**_RESENDING, **_KEEPALIVES}

_LISTED = text_of(__package__, "tcp-settings.sh")


def tcp(node: Node) -> Iterable[Resource]:
    """Set now, and from each start on by systemd, which ignores those that it cannot set (-)."""
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
