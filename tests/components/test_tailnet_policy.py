"""What the tailnet's policy lets devices do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tercet.components.context import Context
from tercet.components.tailscale.policy import policy
from tercet.inventory.components import declarations
from tercet.inventory.openings import rules
from tercet.inventory.platform import Platform


def addresses(platform: Platform) -> dict[str, str]:
    return {node.name: f"100.64.0.{number}" for number, node in enumerate(platform.nodes, 1)}


def reach(policy: Any, source: str, target: str, protocol: str) -> set[str]:
    """The ports that one device may use of another."""
    found = set[str]()
    for rule in policy["acls"]:
        if rule["proto"] == protocol and source in rule["src"]:
            places = [each.rsplit(":", 1) for each in rule["dst"]]
            found |= {port for name, ports in places if name == target for port in ports.split(",")}
    return found


@pytest.mark.parametrize(
    ("source", "target", "tcp"),
    [
        ("apps-sib-01", "db-fsn-01", {"5432", "9301"}),
        ("db-sib-01", "db-fsn-01", {"5432", "8008", "9301"}),
        ("consul-nomad-sib-01", "db-fsn-01", {"9301"}),
        ("apps-sib-01", "apps-fsn-01", {"9301", "20000-32000"}),
        ("apps-sib-01", "stranger", set()),
        ("stranger", "apps-sib-01", set()),
        ("*", "apps-sib-01", set()),
    ],
)
def test_a_device_may_use_what_its_role_needs(platform: Platform, source: str, target: str, tcp: set[str]) -> None:
    assert reach(policy(platform, addresses(platform)), source, target, "tcp") == tcp


def test_it_says_the_same_as_the_firewalls_of_the_nodes(platform: Platform) -> None:
    found = policy(platform, addresses(platform))
    openings = [opening for each in declarations() for opening in each.opens]
    for target in platform.nodes:
        wanted = rules(target, platform, openings)
        for source in platform.nodes:
            for protocol in ("tcp", "udp"):
                opened = {port for rule in wanted if source.name in rule["of"] for port in rule[protocol]}
                assert reach(found, source.name, target.name, protocol) == opened, (source.name, target.name)


def test_devices_with_the_tag_may_ping_each_other(platform: Platform) -> None:
    """Also a node that is just joining."""
    tag = platform.settings.tailnet.tag
    assert reach(policy(platform, {}), tag, tag, "icmp") == {"*"}
    assert reach(policy(platform, {}), tag, tag, "tcp") == set()


def test_a_node_without_an_address_is_not_admitted(platform: Platform) -> None:
    known = addresses(platform)
    del known["apps-sib-01"]
    found = policy(platform, known)
    assert "apps-sib-01" not in str(found)
    assert reach(found, "apps-sib-03", "db-sib-01", "tcp") == {"5432", "9301"}


def test_what_the_inventory_opens_is_open_to_everybody(context: Context) -> None:
    settings = context.platform.settings
    opened = settings.model_copy(update={"firewall": settings.firewall.model_copy(update={"open": (80, 443)})})
    platform = dataclasses.replace(context.platform, settings=opened)
    found = policy(platform, addresses(platform))
    assert reach(found, "*", "apps-sib-01", "tcp") == {"80", "443"}
    assert reach(found, "*", "db-sib-01", "tcp") == set()
