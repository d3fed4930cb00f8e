"""Renders and parses the WAN: the input of nftables and tc that delays packets between sites. Pure.

Each distinct delay has a number, its lane. An nftables table maps each pair of subnets to its lane. With netem, a lane
is a class of that number on every bridge. Without netem, it is a queue of that number, which the emulator
(wan_emulator.py) serves. Pairs without a delay are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from tercet.providers.lab.layout import Link, Network

TABLE = "tercet_wan"
NETEM_LIMIT = 100_000  # packets; netem's default of 1000 would drop bursts at 15 ms

Pair = tuple[IPv4Network, IPv4Network]


@dataclass(frozen=True, slots=True)
class WanState:
    """The state of the kernel and the emulator. `pairs` has the lane of each pair of subnets. `emulated` has the
    microseconds by lane, and `netem` by (bridge, lane).
    """

    pairs: Mapping[Pair, int]
    emulated: Mapping[int, int]
    netem: Mapping[tuple[str, int], int]


def lanes(links: Iterable[Link]) -> dict[int, int]:
    """The microseconds of each lane. Lanes are numbered from 1 by ascending delay."""
    return dict(enumerate(sorted({link.micros for link in links}), start=1))


def table(links: Sequence[Link], *, netem: bool) -> str:
    """The nftables script that replaces the table in one transaction. Without links, it only removes the table."""
    clear = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
    if not links:
        return clear
    lane_of = {micros: lane for lane, micros in lanes(links).items()}
    chains = [] if netem else [f"  chain delay_{lane} {{ }}\n" for lane in lanes(links)]
    rules = [
        f"    ip saddr {link.source.subnet} ip daddr {link.target.subnet} "
        + (f"meta priority set 1:{lane_of[link.micros]:x}\n" if netem else f"jump delay_{lane_of[link.micros]}\n")
        for link in links
    ]
    hook = "    type filter hook forward priority 0; policy accept;\n"
    return clear + f"table ip {TABLE} {{\n{''.join(chains)}  chain links {{\n{hook}{''.join(rules)}  }}\n}}\n"


def tc_commands(links: Sequence[Link]) -> str:
    """The batch for `tc -batch` that gives every bridge one netem class for each lane. The bridges have no qdisc yet.

    Packets without a lane are not classified, and are sent at once (`default 0`).
    """
    lines: list[str] = []
    for bridge in sorted({link.target.bridge for link in links}):
        lines.append(f"qdisc add dev {bridge} root handle 1: htb default 0")
        for lane, micros in lanes(links).items():
            lines.append(
                f"class add dev {bridge} parent 1: classid 1:{lane:x} htb rate 100gbit burst 1m cburst 1m quantum 60000"
            )
            netem = f"netem delay {micros}us limit {NETEM_LIMIT}"
            lines.append(f"qdisc add dev {bridge} parent 1:{lane:x} handle {lane + 16:x}: {netem}")
    return "".join(line + "\n" for line in lines)


def emulator_arguments(links: Sequence[Link]) -> list[str]:
    """The emulator's arguments: the table, no time limit, and QUEUE=MICROSECONDS for each lane."""
    return [TABLE, "0", *(f"{lane}={micros}" for lane, micros in lanes(links).items())]


def delays(state: WanState, networks: Sequence[Network]) -> dict[Pair, int]:
    """The current delay in microseconds of each pair of subnets that has one."""
    bridge_of = {network.subnet: network.bridge for network in networks}
    found = {
        pair: state.emulated.get(lane) or state.netem.get((bridge_of.get(pair[1], ""), lane), 0)
        for pair, lane in state.pairs.items()
    }
    return {pair: micros for pair, micros in found.items() if micros}


def parse_table(ruleset: Sequence[Mapping[str, Any]]) -> dict[Pair, int]:
    """The lane of each pair, from `nft -j list ruleset`. A pair with a queue counts only if the queue has its rule."""
    rules = [item["rule"] for item in ruleset if item.get("rule", {}).get("table") == TABLE]
    hooked = {rule["chain"] for rule in rules if any("xt" in part for part in rule["expr"])}
    found: dict[Pair, int] = {}
    for rule in rules:
        match rule["expr"]:
            case [{"match": {"right": source}}, {"match": {"right": target}}, {"jump": {"target": chain}}]:
                if chain in hooked:
                    found[subnet(source), subnet(target)] = int(chain.removeprefix("delay_"))
            case [{"match": {"right": source}}, {"match": {"right": target}}, {"mangle": {"value": value}}]:
                found[subnet(source), subnet(target)] = lane_of_priority(value)
            case _:
                continue
    return found


def lane_of_priority(value: int | str) -> int:
    """The lane of a class, which nft shows as "1:a" or as the number 0x1000a."""
    return int(value.rpartition(":")[2], 16) if isinstance(value, str) else value & 0xFFFF


def parse_qdiscs(text: str) -> dict[tuple[str, int], int]:
    """Microseconds by bridge and lane, from `tc -j qdisc show`."""
    found: dict[tuple[str, int], int] = {}
    for qdisc in json.loads(text or "[]"):
        if qdisc["kind"] == "netem" and qdisc.get("parent", "").startswith("1:"):
            lane = int(qdisc["parent"].removeprefix("1:"), 16)
            found[qdisc["dev"], lane] = round(qdisc["options"]["delay"]["delay"] * 1e6)
    return found


def parse_arguments(arguments: Iterable[str]) -> dict[int, int]:
    """Microseconds by lane, from the emulator's command line."""
    pairs = (argument.split("=") for argument in arguments if "=" in argument)
    return {int(lane): int(micros) for lane, micros in pairs}


def subnet(value: Any) -> IPv4Network:
    """The subnet from nft's JSON, which is an address or a prefix."""
    if isinstance(value, str):
        return IPv4Network(value)
    return IPv4Network((value["prefix"]["addr"], value["prefix"]["len"]))
