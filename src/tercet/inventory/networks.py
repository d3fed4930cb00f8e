"""The address ranges of an inventory: the lab's networks and the tailnet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations

from tercet.inventory.model import Inventory
from tercet.inventory.problems import Finding, Location, dotted
from tercet.inventory.providers import declarations

CGNAT = IPv4Network("100.64.0.0/10")  # Tailscale gives addresses out of this range only
ROUTES = IPv4Network("198.18.0.0/30")  # tercet-routes leads two addresses of it to the database nodes
DEFAULTS = IPv4Network("10.77.0.0/16")  # the lab's own: 10.77.N.0/24 for the Nth site
LAST_RESORT = IPv4Network("192.168.77.0/24")  # suggested where none of these is free
SMALLEST = 28  # prefix length: a router, three nodes, and room


@dataclass(frozen=True, slots=True)
class _Range:
    at: Location
    network: IPv4Network
    written: bool  # by the operator; else it is a default


def site_subnet(inventory: Inventory, index: int) -> IPv4Network:
    """The lab network of the site at an index: its own, else 10.77.N.0/24 with N counted from 1."""
    own = inventory.sites[index].subnet
    return own or IPv4Network((int(DEFAULTS.network_address) + ((index + 1) << 8), 24))


def check(inventory: Inventory) -> Iterator[Finding]:
    """Ranges that overlap, are too small, or are no place for nodes."""
    lab = [
        *(
            _Range((each.name, "world"), each.world(settings), "world" in settings.model_fields_set)
            for each in declarations()
            if each.world
            for settings in [inventory.of(each)]
        ),
        *(
            _Range(("sites", i, "subnet"), site_subnet(inventory, i), site.subnet is not None)
            for i, site in enumerate(inventory.sites)
        ),
    ]
    cidr = inventory.tailnet.cidr
    tailnet = _Range(("tailnet", "cidr"), cidr, "cidr" in inventory.tailnet.model_fields_set)
    taken = [CGNAT, *(each.network for each in lab)]

    suggested: dict[Location, IPv4Network] = {}

    def free(at: Location) -> IPv4Network:
        """The first of the lab's own networks that overlaps none of these; each place gets one of its own."""
        if at not in suggested:
            networks = (n for n in DEFAULTS.subnets(new_prefix=24) if not any(n.overlaps(other) for other in taken))
            suggested[at] = next(networks, LAST_RESORT)
            taken.append(suggested[at])
        return suggested[at]

    if not cidr.subnet_of(CGNAT) or cidr.prefixlen > 24:
        yield Finding(
            tailnet.at,
            f"a network of at least 256 addresses within {CGNAT}, where Tailscale's addresses are",
            str(cidr),
            f"cidr: {CGNAT}",
        )
    for each in lab:
        network = each.network
        if network.overlaps(CGNAT):
            yield Finding(
                each.at,
                f"a network outside {CGNAT}, where the tailnet's addresses are",
                str(network),
                f"{each.at[-1]}: {free(each.at)}",
            )
        elif network.overlaps(ROUTES):
            yield Finding(
                each.at,
                f"a network outside {ROUTES}, by which each apps node leads its proxy to the databases",
                str(network),
                f"{each.at[-1]}: {free(each.at)}",
            )
        elif network.prefixlen > SMALLEST or not network.is_private or network.is_loopback:
            yield Finding(
                each.at,
                f"a private network of at least {1 << (32 - SMALLEST)} addresses (/{SMALLEST})",
                str(network),
                f"{each.at[-1]}: {free(each.at)}",
            )
    for one, other in combinations(lab, 2):
        if one.network.overlaps(other.network):
            wrong, right = (other, one) if other.written else (one, other)
            yield Finding(
                wrong.at,
                "networks that do not overlap",
                f"{wrong.network}, which overlaps {dotted(right.at)} ({right.network})",
                f"{wrong.at[-1]}: {free(wrong.at)}",
                uses=(right.at,),
            )
