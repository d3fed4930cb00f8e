"""Names and addresses of a lab, and the LXC configuration made from them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from tercet.errors import TercetError
from tercet.inventory.load import platform_of
from tercet.inventory.platform import Platform
from tercet.providers.lab.config import config_text, differences, has_disk, image_of, is_privileged, parse
from tercet.providers.lab.layout import device, layout_of

IMAGE = Path("/var/cache/tercet/images/abc/rootfs")


def test_layout_of_the_default_inventory(platform: Platform) -> None:
    layout = layout_of(platform)
    assert layout.namespace == "tercet-tercet"
    assert [(network.name, network.router, network.bridge) for network in layout.networks] == [
        ("sib-01", "10.77.1.1/24", "br-sib-01"),
        ("sib-03", "10.77.2.1/24", "br-sib-03"),
        ("fsn-01", "10.77.3.1/24", "br-fsn-01"),
        ("world", "10.77.250.1/24", "br.world"),
    ]
    assert [(container.name, str(container.address), container.port) for container in layout.containers] == [
        ("world", "10.77.250.20", "w-world"),
        ("consul-nomad-sib-01", "10.77.1.11", "c-sib-01"),
        ("apps-sib-01", "10.77.1.12", "a-sib-01"),
        ("db-sib-01", "10.77.1.13", "d-sib-01"),
        ("consul-nomad-sib-03", "10.77.2.11", "c-sib-03"),
        ("apps-sib-03", "10.77.2.12", "a-sib-03"),
        ("db-sib-03", "10.77.2.13", "d-sib-03"),
        ("consul-nomad-fsn-01", "10.77.3.11", "c-fsn-01"),
        ("apps-fsn-01", "10.77.3.12", "a-fsn-01"),
        ("db-fsn-01", "10.77.3.13", "d-fsn-01"),
    ]
    assert {(link.name, link.micros) for link in layout.links} == {
        ("sib-01→sib-03", 500),
        ("sib-03→sib-01", 500),
        ("sib-01→fsn-01", 15000),
        ("fsn-01→sib-01", 15000),
        ("sib-03→fsn-01", 15000),
        ("fsn-01→sib-03", 15000),
    }


def test_link_without_delay_is_no_link(platform: Platform) -> None:
    still = tuple(link.model_copy(update={"latency_ms": 0}) for link in platform.settings.links)
    quick = replace(platform, settings=platform.settings.model_copy(update={"links": still}))
    assert layout_of(quick).links == ()


def with_first_site(platform: Platform, **changes: object) -> Platform:
    """The same inventory, but for its first site."""
    first, *others = platform.settings.sites
    sites = (first.model_copy(update=changes), *others)
    return platform_of(platform.settings.model_copy(update={"sites": sites}))


def test_a_site_keeps_its_network_whichever_others_are_lost(platform: Platform) -> None:
    networks = [(network.name, str(network.subnet)) for network in layout_of(platform).networks]
    assert networks == [
        ("sib-01", "10.77.1.0/24"),
        ("sib-03", "10.77.2.0/24"),
        ("fsn-01", "10.77.3.0/24"),
        ("world", "10.77.250.0/24"),
    ]
    left = layout_of(platform.losing("sib-01", "sib-03"))
    assert [(network.name, str(network.subnet)) for network in left.networks] == networks


def test_subnet_without_room_is_refused(platform: Platform) -> None:
    small = with_first_site(platform, subnet=IPv4Network("10.77.1.0/29"))
    with pytest.raises(TercetError, match=r"the subnet 10\.77\.1\.0/29 of sib-01 is too small"):
        layout_of(small)


def test_site_cannot_take_the_worlds_name(platform: Platform) -> None:
    with pytest.raises(TercetError, match="a site cannot be called world"):
        layout_of(with_first_site(platform, name="world"))


def test_unknown_names_are_errors_that_list_the_known(platform: Platform) -> None:
    layout = layout_of(platform)
    with pytest.raises(TercetError, match="there is no node db; the nodes are world, consul-nomad-sib-01"):
        layout.container("db")
    with pytest.raises(TercetError, match="there is no site db; the networks are sib-01, sib-03, fsn-01, world"):
        layout.network("db")


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", fullmatch=True), unique=True, max_size=30))
def test_device_names_fit_the_kernel_and_differ(names: list[str]) -> None:
    devices = [device(prefix, name) for prefix in ("br", "c", "a", "d") for name in names]
    assert all(len(name) <= 15 for name in devices)
    assert len(set(devices)) == len(devices)


def test_container_configuration(platform: Platform, snapshot: SnapshotAssertion) -> None:
    layout = layout_of(platform)
    assert config_text(layout, layout.container("db-fsn-01"), IMAGE, disk=True) == snapshot


def test_only_database_nodes_are_to_have_a_disk(platform: Platform) -> None:
    layout = layout_of(platform)
    assert {container.name for container in layout.containers if container.disk} == {
        "db-sib-01",
        "db-sib-03",
        "db-fsn-01",
    }


@pytest.mark.parametrize("disk", [True, False])
def test_configuration_says_whether_it_has_a_disk(platform: Platform, disk: bool) -> None:
    layout = layout_of(platform)
    assert has_disk(config_text(layout, layout.container("db-sib-01"), IMAGE, disk=disk)) is disk


def test_configuration_says_which_image_it_stands_on(platform: Platform) -> None:
    layout = layout_of(platform)
    text = config_text(layout, layout.container("world"), IMAGE, disk=False)
    assert image_of(text) == IMAGE
    assert parse(text)["lxc.uts.name"] == "world"
    assert image_of("lxc.rootfs.path = dir:/somewhere\n") is None
    assert not is_privileged(text)
    assert is_privileged(f"lxc.rootfs.path = overlay:{IMAGE}:/var/lib/tercet/labs/tercet/world/upper\n")
    assert image_of("") is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("a = 1\nb = 2\nc = 3\n", ""),
        ("a = 1\nb = 5\nc = 3\n", "b is 5, wanted 2"),
        ("a = 1\nc = 3\n", "b is absent, wanted 2"),
        ("a = 1\nb = 2\nc = 3\nd = 4\n", "d is 4, wanted none"),
        ("a = 9\nb = 9\nc = 9\n", "a is 9, wanted 1; b is 9, wanted 2; and 1 more"),
        ("b = 2\na = 1\nc = 3\n", "lines were added or reordered"),
    ],
)
def test_differences_are_named(found: str, reason: str) -> None:
    assert differences(found, "a = 1\nb = 2\nc = 3\n") == reason
