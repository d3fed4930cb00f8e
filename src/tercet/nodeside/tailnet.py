"""Checks addresses from a catalogue or a gossip member: only addresses of the tailnet are accepted.

A refused address never reaches nftables or `ss`. Delivered together with the daemons that import it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network


class Tailnet:
    """The address range of the tailnet."""

    def __init__(self, cidr: str) -> None:
        self._network = IPv4Network(cidr)
        self._refused = set[str]()

    def admitted(self, addresses: Iterable[str]) -> set[str]:
        """The ones that are IPv4 addresses of the tailnet. Others are reported the first time that they appear."""
        asked = set(addresses)
        admitted = {address for address in asked if self._has(address)}
        for address in sorted(asked - admitted - self._refused):
            print(f"refused {address[:60]!r}: not an IPv4 address within {self._network}", flush=True)
        self._refused = asked - admitted
        return admitted

    def _has(self, address: str) -> bool:
        try:
            return IPv4Address(address) in self._network
        except ValueError:
            return False


def addresses_in(hosts: str, names: set[str], tailnet: Tailnet) -> set[str]:
    """The addresses of these names in the text of /etc/hosts, without those that are not in the tailnet."""
    lines = (line.partition("#")[0].split() for line in hosts.splitlines())
    return tailnet.admitted(words[0] for words in lines if len(words) > 1 and names & set(words[1:]))
