"""Renders and parses weak links: random loss or extra delay of a site's packets. Pure.

Each weak site has its own nftables set and chain in the table of cuts. The set has the affected pairs of subnets, which
expire in the kernel. The chain's rule drops packets, or sends them to a queue of a separate emulator (wan_emulator.py),
which is started for the fault and delays them.

Invariant: a weak link ends when its time is up, even if the tool is dead. The kernel expires it, and without its
emulator the queue lets every packet pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tercet.inventory.providers import Capability
from tercet.providers.lab.cuts import TABLE
from tercet.providers.lab.wan import Pair

FIRST_QUEUE = 1000  # the WAN's queues are numbered from 1
_PREFIX = {Capability.LOSS: "loss_", Capability.LATENCY: "late_"}


def queue_of(number: int) -> int:
    """The queue that delays packets of the `number`th network."""
    return FIRST_QUEUE + number


def lose(number: int, pairs: Iterable[Pair], percent: int, seconds: float) -> str:
    """Drop `percent` of the packets of these pairs, which belong to the `number`th network."""
    return _weaken(_PREFIX[Capability.LOSS] + str(number), pairs, f"numgen random mod 100 < {percent} drop", seconds)


def delay(number: int, pairs: Iterable[Pair], seconds: float) -> str:
    """Send the packets of these pairs to the network's queue. The emulator adds the rule to the queue's chain."""
    queue = f"delay_{queue_of(number)}"
    chain = f"add chain ip {TABLE} {queue}\nflush chain ip {TABLE} {queue}\n"
    return chain + _weaken(_PREFIX[Capability.LATENCY] + str(number), pairs, f"jump {queue}", seconds)


def steady(number: int) -> str:
    """End loss and delay of the `number`th network. Does nothing if it has neither."""
    return "".join(
        f"{_set(prefix + str(number))}flush set ip {TABLE} {prefix}{number}\n" for prefix in _PREFIX.values()
    )


def parse(ruleset: Sequence[Mapping[str, Any]]) -> dict[tuple[Capability, int], float]:
    """The weak links in force: seconds left by (LOSS or LATENCY, number of the network), from `nft -j list ruleset`."""
    found: dict[tuple[Capability, int], float] = {}
    for item in ruleset:
        one = item.get("set", {})
        for kind, prefix in _PREFIX.items():
            if one.get("table") == TABLE and one["name"].startswith(prefix) and one.get("elem"):
                left = max(float(entry["elem"].get("expires", 0)) for entry in one["elem"])
                found[kind, int(one["name"].removeprefix(prefix))] = left
    return found


def _weaken(name: str, pairs: Iterable[Pair], verdict: str, seconds: float) -> str:
    """Make a set and a chain, both called `name`. They replace those of an earlier fault."""
    limit = f"timeout {round(seconds * 1000)}ms"
    elements = ", ".join(f"{source} . {target} {limit}" for source, target in pairs)
    return (
        f"{_set(name)}flush set ip {TABLE} {name}\n"
        f"add chain ip {TABLE} {name} {{ type filter hook forward priority -10; policy accept; }}\n"
        f"flush chain ip {TABLE} {name}\n"
        f"add rule ip {TABLE} {name} ip saddr . ip daddr @{name} {verdict}\n"
        f"add element ip {TABLE} {name} {{ {elements} }}\n"
    )


def _set(name: str) -> str:
    return f"add set ip {TABLE} {name} {{ type ipv4_addr . ipv4_addr; flags interval, timeout; }}\n"
