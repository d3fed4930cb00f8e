"""What the tailnet lets through to a node: the rules that its tailscaled has from the control server.

tailscaled drops what no rule admits, so these rules are the access controls as they really are, whatever was written
into the control server. Their format is FilterRule of Tailscale's tailcfg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, NamedTuple

from tercet.components.tailscale.component import LOCAL
from tercet.components.tailscale.policy import EVERYBODY, PEOPLE, ways
from tercet.converge.requests import Answer, Http
from tercet.inventory.platform import Node, Platform

RULES = Http(LOCAL, "/localapi/v0/debug-packet-filter-rules", timeout=3)
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}  # of protocols (IANA); 58 is ICMP for IPv6
UNLESS_NAMED = (6, 17)  # a rule without protocols admits these, and ICMP


class Admitted(NamedTuple):
    """A way in. `source`: a node's name, or the addresses of other devices as the rule has them. `last`: the last port
    of the range.
    """

    source: str
    protocol: str
    first: int
    last: int

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.source} may use {self.protocol} {ports}"


def admitted(answer: Answer, names: Mapping[str, str]) -> list[Admitted] | None:
    """The ways in, without ICMP; None if the node does not say. `names` has the nodes by address."""
    if not answer.ok:
        return None
    try:
        return [way for rule in answer.json() or () for way in _ways_of(rule, names)]
    except (AttributeError, KeyError, TypeError, ValueError):  # a node may report anything
        return None


def _ways_of(rule: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Admitted]:
    protocols = {NAMES.get(number, f"protocol {number}") for number in rule.get("IPProto") or UNLESS_NAMED}
    for source in rule.get("SrcIPs") or ():
        senders = _nodes(str(source), names) or [f"another device ({source})"]
        for place in rule.get("DstPorts") or ():
            first, last = (int(place["Ports"][end]) for end in ("First", "Last"))
            for sender, protocol in product(senders, sorted(protocols - {"icmp"})):
                yield Admitted(sender, protocol, first, last)


def _nodes(source: str, names: Mapping[str, str]) -> list[str]:
    """The nodes that a rule's source means, if it means nodes only: an address, FIRST-LAST, a network, or "*"."""
    if source == "*" or source.startswith("cap:"):
        return []
    if "-" in source:
        first, last = (int(ip_address(end)) for end in source.split("-"))
    else:
        network = ip_network(source)
        first, last = int(network[0]), int(network[-1])
    inside = [name for address, name in names.items() if first <= int(ip_address(address)) <= last]
    return inside if len(inside) == last - first + 1 else []


def beyond(platform: Platform, node: Node, found: Iterable[Admitted]) -> list[Admitted]:
    """The ways in that the node's own firewall does not open: what the role of the source does not need."""
    members = tuple(each.name for each in platform.nodes)
    needed = list(ways(platform, node, members))

    def opened(way: Admitted) -> bool:
        sources = (way.source,) if way.source in members else ()
        ranges = [
            range_
            for each in needed
            if each.protocol == way.protocol and (each.sources in (EVERYBODY, PEOPLE) or set(sources) & {*each.sources})
            for range_ in each.ports.split(",")
        ]
        return any(first <= way.first and way.last <= last for first, last in map(_ends, ranges))

    return [way for way in found if not opened(way)]


def _ends(ports: str) -> tuple[int, int]:
    first, _, last = ports.partition("-")
    return int(first), int(last or first)
