"""Which node may use which port of another node, as the components declare it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.inventory.components import declarations
from tercet.inventory.default import default_text
from tercet.inventory.load import parse
from tercet.inventory.openings import rules, users
from tercet.inventory.platform import Platform


@pytest.fixture(scope="module")
def platform() -> Platform:
    return parse(default_text().encode(), Path("tercet.yml"))


def reach(platform: Platform, source: str, target: str) -> dict[str, set[str]]:
    """The ports of `target` that `source` may use, by protocol."""
    found = rules(platform.node(target), platform, (one for each in declarations() for one in each.opens))
    return {
        protocol: {port for rule in found if source in rule["of"] for port in rule[protocol]}
        for protocol in ("tcp", "udp")
    }


@pytest.mark.parametrize(
    ("source", "target", "tcp", "udp"),
    [
        # gossip of `dcs`, and PostgreSQL
        ("apps-fsn-01", "db-sib-01", {"9301", "5432"}, {"9301"}),
        # and gossip of the datacenter
        ("apps-sib-01", "db-sib-01", {"8301", "9301", "5432"}, {"8301", "9301"}),
        # and Patroni
        ("db-fsn-01", "db-sib-01", {"9301", "5432", "8008"}, {"9301"}),
        # A control node needs no database.
        ("consul-nomad-sib-01", "db-sib-01", {"8301", "9301"}, {"8301", "9301"}),
        # jobs of other sites
        ("apps-sib-03", "apps-fsn-01", {"9301", "20000-32000"}, {"9301"}),
        ("db-sib-03", "apps-sib-03", {"8301", "9301"}, {"8301", "9301"}),
        # the servers of `dcs`; those of Nomad are for its clients, and those of a datacenter for its site
        ("db-sib-03", "consul-nomad-fsn-01", {"9300", "9301"}, {"9301"}),
        ("apps-sib-03", "consul-nomad-fsn-01", {"9300", "9301", "4647"}, {"9301"}),
        ("apps-fsn-01", "consul-nomad-fsn-01", {"8300", "8301", "9300", "9301", "4647"}, {"8301", "9301"}),
        (
            "consul-nomad-sib-01",
            "consul-nomad-fsn-01",
            {"8300", "8302", "9300", "9301", "9302", "4647", "4648"},
            {"8302", "9301", "9302", "4648"},
        ),
        # nobody but the node itself
        ("db-sib-01", "db-sib-01", set(), set()),
    ],
)
def test_a_node_may_use_what_its_role_needs(
    platform: Platform, source: str, target: str, tcp: set[str], udp: set[str]
) -> None:
    assert reach(platform, source, target) == {"tcp": tcp, "udp": udp}


def test_users_other_than_root_have_the_proxy_and_what_their_programs_need(platform: Platform) -> None:
    found = users(platform, (use for each in declarations() for use in each.uses))
    assert found == {
        "": [5432, 8600, 9600],
        "consul": [4646, 4647, 4648, 8008, 8300, 8301, 8302, 9300, 9301, 9302],
        "consul-template": [9500],
        "nomad": [4647, 4648, 8500],
        "postgres": [5432, 8008, 8009, 9500],
    }


def test_a_lost_node_may_use_nothing(platform: Platform) -> None:
    left = platform.losing("sib-01", "sib-03")
    assert reach(left, "consul-nomad-sib-01", "consul-nomad-fsn-01") == {"tcp": set(), "udp": set()}
    assert reach(left, "apps-fsn-01", "db-fsn-01")["tcp"] == {"8301", "9301", "5432"}
