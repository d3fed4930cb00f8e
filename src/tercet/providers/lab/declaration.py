"""The lab's keys in the inventory, and the check for networks that the lab cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import combinations

from tercet.inventory.base import Model
from tercet.inventory.model import Inventory
from tercet.inventory.networks import CGNAT, ROUTES
from tercet.inventory.problems import Finding, Location, dotted
from tercet.inventory.providers import Capability, ProviderDeclaration
from tercet.inventory.shapes import Subnet

DEFAULTS = IPv4Network("10.77.0.0/16")  # 10.77.N.0/24 for the Nth site
LAST_RESORT = IPv4Network("192.168.77.0/24")  # suggested if none of these is free
SMALLEST = 28  # prefix length: room for a router, three nodes, and more


class LabModel(Model):
    """Settings for the built-in lab only."""

    world: Subnet = IPv4Network("10.77.250.0/24")
    """Network of the outside world (headscale and DERP)."""


class LabSiteModel(Model):
    """A site's settings for the built-in lab only."""

    subnet: Subnet | None = None
    """Lab only: network of this site. Default: 10.77.N.0/24, N counted from 1."""


def site_subnet(inventory: Inventory, index: int) -> IPv4Network:
    """The network of the site at this index: its `subnet`, or else 10.77.N.0/24 with N counted from 1."""
    own = inventory.sites[index].keys_of(LabSiteModel).subnet
    return own or IPv4Network((int(DEFAULTS.network_address) + ((index + 1) << 8), 24))


@dataclass(frozen=True, slots=True)
class _Range:
    at: Location
    network: IPv4Network
    written: bool  # by the operator; not a default


def check(inventory: Inventory) -> Iterator[Finding]:
    """Find networks that overlap, are too small, or cannot be used for nodes."""
    settings = inventory.of(DECLARATION)
    networks = [
        _Range(("lab", "world"), settings.world, "world" in settings.model_fields_set),
        *(
            _Range(("sites", i, "subnet"), site_subnet(inventory, i), site.keys_of(LabSiteModel).subnet is not None)
            for i, site in enumerate(inventory.sites)
        ),
    ]
    taken = [CGNAT, *(each.network for each in networks)]

    suggested: dict[Location, IPv4Network] = {}

    def free(at: Location) -> IPv4Network:
        """The first of the lab's default networks that is not taken. Each location gets a different one."""
        if at not in suggested:
            own = (n for n in DEFAULTS.subnets(new_prefix=24) if not any(n.overlaps(other) for other in taken))
            suggested[at] = next(own, LAST_RESORT)
            taken.append(suggested[at])
        return suggested[at]

    for each in networks:
        network = each.network
        if network.overlaps(CGNAT):
            expected = f"a network outside {CGNAT}, where the tailnet's addresses are"
        elif network.overlaps(ROUTES):
            expected = f"a network outside {ROUTES}, by which each apps node leads its proxy to the databases"
        elif network.prefixlen > SMALLEST or not network.is_private or network.is_loopback:
            expected = f"a private network of at least {1 << (32 - SMALLEST)} addresses (/{SMALLEST})"
        else:
            continue
        yield Finding(each.at, expected, str(network), f"{each.at[-1]}: {free(each.at)}")
    for one, other in combinations(networks, 2):
        if one.network.overlaps(other.network):
            wrong, right = (other, one) if other.written else (one, other)
            yield Finding(
                wrong.at,
                "networks that do not overlap",
                f"{wrong.network}, which overlaps {dotted(right.at)} ({right.network})",
                f"{wrong.at[-1]}: {free(wrong.at)}",
                uses=(right.at,),
            )


DECLARATION = ProviderDeclaration(
    name="lab",
    settings=LabModel,
    image="tree",
    site=LabSiteModel,
    world=lambda settings: settings.world,
    neighbours=True,
    faults=frozenset(Capability),
    check=check,
    moved={"links": "links"},
)
