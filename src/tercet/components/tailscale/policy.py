"""The tailnet's own access controls: what the firewall of each node opens, and nothing else.

The control server gives every device its rules, and tells it only of devices that it may reach or that may reach it. So
a device without the platform's tag does not even see the nodes.

Ports are opened to the addresses of nodes, because the tag can be given to other devices, too. Devices with the tag may
only ping each other. A node that joins needs this: its address is not known before, and without any peer its tailscaled
may not become ready.

The format is that of Tailscale's policy file (`acls`, `hosts` and `tagOwners`), which headscale also reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tercet.components.firewall.declaration import SSH
from tercet.inventory.components import declarations
from tercet.inventory.openings import rules
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.providers import declaration

EVERYBODY = ("*",)
PEOPLE = ("autogroup:member",)  # devices of users; a device with a tag is none of them


def policy(platform: Platform, addresses: Mapping[str, str]) -> dict[str, object]:
    """The policy, as data for a JSON file. `addresses` has the nodes' addresses in the tailnet by name. A node that it
    does not have is not admitted.
    """
    tag = platform.settings.tailnet.tag
    hosts = {node.name: addresses[node.name] for node in platform.nodes if node.name in addresses}
    accepted = dict[Way, list[str]]()
    for node in platform.nodes:
        if node.name in hosts:
            for way in ways(platform, node, tuple(hosts)):
                accepted.setdefault(way, []).append(f"{node.name}:{way.ports}")
    acls = [
        {"action": "accept", "src": [*way.sources], "proto": way.protocol, "dst": nodes}
        for way, nodes in {Way((tag,), "icmp", "*"): [f"{tag}:*"], **accepted}.items()
        if way.sources
    ]
    return {"tagOwners": {tag: []}, "hosts": hosts, "acls": acls}


class Way(NamedTuple):
    """Who may use which ports of a node. `ports` are separated by commas, or "*"."""

    sources: tuple[str, ...]
    protocol: str
    ports: str


def ways(platform: Platform, node: Node, members: tuple[str, ...]) -> Iterator[Way]:
    """Who may use what of a node, if `members` are the nodes that are admitted."""
    settings = platform.settings
    for rule in rules(node, platform, (opening for each in declarations() for opening in each.opens)):
        sources = tuple(name for name in rule["of"] if name in members)
        yield from (Way(sources, name, ",".join(rule[name])) for name in ("tcp", "udp") if rule[name])
    if node.role is Role.APPS and settings.firewall.open:
        yield Way(EVERYBODY, "tcp", ",".join(map(str, settings.firewall.open)))
    if declaration(settings.provider).ssh(settings, node.site):
        yield Way(PEOPLE, "tcp", str(SSH))
