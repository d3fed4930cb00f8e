"""The platform's own address ranges, which do not depend on the provider."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from tercet.inventory.model import Inventory
from tercet.inventory.problems import Finding

CGNAT = IPv4Network("100.64.0.0/10")  # Tailscale assigns addresses only from this range
ROUTES = IPv4Network("198.18.0.0/30")  # tercet-routes routes two addresses of this range to the database nodes


def check(inventory: Inventory) -> Iterator[Finding]:
    """Findings about a tailnet range in which no node can have an address."""
    cidr = inventory.tailnet.cidr
    if not cidr.subnet_of(CGNAT) or cidr.prefixlen > 24:
        yield Finding(
            ("tailnet", "cidr"),
            f"a network of at least 256 addresses within {CGNAT}, where Tailscale's addresses are",
            str(cidr),
            f"cidr: {CGNAT}",
        )
