"""The lab in the inventory."""

from __future__ import annotations

from ipaddress import IPv4Network

from tercet.inventory.base import Model
from tercet.inventory.providers import Capability, Declaration
from tercet.inventory.shapes import Subnet


class LabModel(Model):
    """What only the built-in lab needs to know."""

    world: Subnet = IPv4Network("10.77.250.0/24")
    """Network of the outside world (headscale and DERP)."""


DECLARATION = Declaration(
    name="lab",
    settings=LabModel,
    image="tree",
    world=lambda settings: settings.world,
    faults=frozenset(Capability),
)
