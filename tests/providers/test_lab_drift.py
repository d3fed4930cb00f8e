"""What a lab lacks, from what a real one printed. The real repairs are in tests/lab/test_provider.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.providers.lab.config import config_text
from tercet.providers.lab.drift import drift
from tercet.providers.lab.layout import Layout, layout_of
from tercet.providers.lab.observe import (
    MARK,
    ContainerState,
    NetworkState,
    Observed,
    parse_fib,
    parse_gateway,
    parse_network,
)

FIXTURES = Path(__file__).parent / "fixtures"
EMULATOR = ("python3", "wan_emulator.py", "1=500", "2=15000", "")


def printed(name: str) -> str:
    return (FIXTURES / name).read_text()


def network(layout: Layout, emulator: tuple[str, ...] = EMULATOR) -> NetworkState:
    return parse_network(printed("look.txt").split(MARK + "\n"), emulator, layout)


def containers(layout: Layout) -> Mapping[str, ContainerState]:
    return {
        container.name: ContainerState(
            config_text(layout, container, Path("/image"), disk=container.disk),
            image_exists=True,
            disk_exists=container.disk,
            init=1000,
            addresses=frozenset({container.address}),
            gateway=container.network.gateway,
        )
        for container in layout.containers
    }


def lines(layout: Layout, observed: Observed) -> list[str]:
    return [f"{change.verb} {change.what}: {change.reason}" for change in drift(layout, observed)]


def test_what_a_sound_lab_prints_needs_nothing(platform: Platform) -> None:
    layout = layout_of(platform)
    state = network(layout)
    assert state.forwarding
    assert state.cuts_ready
    assert state.devices["br-sib-01"].addresses == ("10.77.1.1/24",)
    assert state.devices["d-sib-01"].master == "br-sib-01"
    assert {str(a): str(b) for (a, b), micros in state.delays.items() if micros == 500} == {
        "10.77.1.0/24": "10.77.2.0/24",
        "10.77.2.0/24": "10.77.1.0/24",
    }
    assert drift(layout, Observed(state, containers(layout), 1024)) == ()


def test_nothing_there(platform: Platform) -> None:
    found = lines(layout_of(platform), Observed(None, {}, 128))
    assert found[:3] == [
        "update limit fs.inotify.max_user_instances: it is 128, wanted 1024: all containers share it",
        "create namespace tercet-tercet: absent",
        "create network sib-01: absent; 10.77.1.0/24",
    ]
    assert found[6] == "create link sib-01→sib-03: delay is none, wanted 0.5 ms"
    assert found[-1] == "create container db-fsn-01: absent"
    assert len(found) == 1 + 1 + 4 + 6 + 10


def test_dead_emulator_delays_nothing(platform: Platform) -> None:
    layout = layout_of(platform)
    assert network(layout, emulator=()).delays == {}


def test_emulator_that_lost_its_queue_delays_nothing_there(platform: Platform) -> None:
    layout = layout_of(platform)
    *parts, queues = printed("look.txt").split(MARK + "\n")
    unbound = "".join(line + "\n" for line in queues.splitlines() if line.split()[:1] != ["2"])
    delays = parse_network([*parts, unbound], EMULATOR, layout).delays
    assert set(delays.values()) == {500}


def test_output_that_is_no_json_is_an_error(platform: Platform) -> None:
    with pytest.raises(TercetError, match="ip or nft printed what the lab cannot read"):
        parse_network(["", "", "", "1", ""], (), layout_of(platform))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"init": None}, "start container db-sib-01: stopped"),
        ({"config": None, "init": None}, "create container db-sib-01: absent"),
        ({"frozen": True}, "thaw container db-sib-01: frozen"),
        (
            {"image_exists": False},
            "update container db-sib-01: its image /image is gone; it keeps its own files, on the current image",
        ),
        (
            {"disk_exists": False},
            "update container db-sib-01: its disk is gone, and the data with it; it gets an empty one",
        ),
        ({"addresses": frozenset()}, "update address db-sib-01: it lacks its address 10.77.1.13"),
        (
            {"gateway": IPv4Address("10.77.1.9")},
            "update address db-sib-01: its default gateway is 10.77.1.9, wanted 10.77.1.1",
        ),
    ],
)
def test_container(platform: Platform, change: dict[str, object], expected: str) -> None:
    layout = layout_of(platform)
    states = dict(containers(layout))
    states["db-sib-01"] = replace(states["db-sib-01"], **change)  # type: ignore[arg-type]
    assert lines(layout, Observed(network(layout), states, 1024)) == [expected]


@pytest.mark.parametrize(
    ("change", "waits"),
    [({}, True), ({"init": None}, False), ({"frozen": True}, False), ({"addresses": frozenset()}, False)],
)
def test_restart_of_a_container_in_reach_disturbs_somebody(
    platform: Platform, change: dict[str, object], waits: bool
) -> None:
    layout = layout_of(platform)
    states = dict(containers(layout))
    text = f"{states['db-sib-01'].config}lxc.prlimit.nofile = 1024\n"
    states["db-sib-01"] = replace(states["db-sib-01"], config=text, **change)  # type: ignore[arg-type]
    (update,) = drift(layout, Observed(network(layout), states, 1024))
    assert update.reason == "its configuration differs: lxc.prlimit.nofile is 1024, wanted none"
    assert update.restarts == ("db-sib-01" if waits else "")


def test_container_whose_network_moves_cannot_wait(platform: Platform) -> None:
    layout = layout_of(platform)
    states = {name: replace(state, disk_exists=False) for name, state in containers(layout).items()}
    found = network(layout)
    devices = dict(found.devices)
    devices["br-sib-01"] = replace(devices["br-sib-01"], addresses=("10.99.1.1/24",))
    changes = drift(layout, Observed(replace(found, devices=devices), states, 1024))
    assert {change.what: change.restarts for change in changes} == {
        "network sib-01": "",
        "container db-sib-01": "",
        "container db-sib-03": "db-sib-03",
        "container db-fsn-01": "db-fsn-01",
    }


def test_container_made_without_a_disk_goes_on_without(platform: Platform) -> None:
    """A lab of an earlier version, or a machine without loop devices."""
    layout = layout_of(platform)
    states = dict(containers(layout))
    text = config_text(layout, layout.container("db-sib-01"), Path("/image"), disk=False)
    states["db-sib-01"] = replace(states["db-sib-01"], config=text, disk_exists=False)
    assert lines(layout, Observed(network(layout), states, 1024)) == []


def test_disk_that_is_not_mounted(platform: Platform) -> None:
    layout = layout_of(platform)
    states = dict(containers(layout))
    text = config_text(layout, layout.container("db-sib-01"), Path("/image"), disk=False)
    states["db-sib-01"] = replace(states["db-sib-01"], config=text)
    (line,) = lines(layout, Observed(network(layout), states, 1024))
    assert line.startswith("update container db-sib-01: its configuration differs: # disk is absent, wanted /var/lib/")


def test_lab_of_an_earlier_version_is_refused_and_kept(platform: Platform) -> None:
    layout = layout_of(platform)
    states = dict(containers(layout))
    for name in ("apps-sib-01", "db-sib-01"):
        old = "lxc.rootfs.path = overlay:/image:/var/lib/tercet/labs/tercet/db-sib-01/upper\n"
        states[name] = replace(states[name], config=old)
    with pytest.raises(TercetError, match=r"root is root here: apps-sib-01, db-sib-01\. .*`tercet down` destroys"):
        drift(layout, Observed(network(layout), states, 1024))
    lost = layout_of(platform.losing("sib-01"))
    assert drift(lost, Observed(network(layout), states, 1024)) == ()


def test_running_container_that_lost_its_network(platform: Platform) -> None:
    layout = layout_of(platform)
    found = lines(layout, Observed(None, containers(layout), 1024))
    assert found[-1] == "restart container db-fsn-01: it runs, but has no cable in the lab's network"


def test_delay_that_nobody_wants(platform: Platform) -> None:
    layout = replace(layout_of(platform), links=())
    found = lines(layout, Observed(network(layout), containers(layout), 1024))
    assert found[0] == "remove link 10.77.1.0/24→10.77.2.0/24: it has a delay that the inventory does not name"
    assert len(found) == 6


def test_cut_in_force(platform: Platform) -> None:
    layout = layout_of(platform)
    gone = IPv4Network("10.99.0.0/24")
    state = replace(network(layout), cut={(layout.networks[0].subnet, gone): 12.0})
    assert lines(layout, Observed(state, containers(layout), 1024)) == [
        "join cut sib-01→10.99.0.0/24: a drill or a person cut it, for 12 s more"
    ]


def test_site_that_left_the_inventory(platform: Platform) -> None:
    whole = layout_of(platform)
    smaller = layout_of(
        replace(
            platform,
            sites=platform.sites[:2],
            settings=platform.settings.model_copy(
                update={"links": platform.settings.links[:1]},
            ),
        )
    )
    found = lines(smaller, Observed(network(whole), containers(whole), 1024))
    assert found[:4] == [
        "remove container consul-nomad-fsn-01: the inventory has no such node; its data goes with it",
        "remove container apps-fsn-01: the inventory has no such node; its data goes with it",
        "remove container db-fsn-01: the inventory has no such node; with its DATABASE",
        "remove bridge br-fsn-01: the inventory has no such network",
    ]
    assert [line.split(":")[0] for line in found[4:]] == [
        "remove link 10.77.1.0/24→10.77.3.0/24",
        "remove link 10.77.3.0/24→10.77.1.0/24",
        "remove link 10.77.2.0/24→10.77.3.0/24",
        "remove link 10.77.3.0/24→10.77.2.0/24",
    ]


def test_addresses_as_the_kernel_lists_them() -> None:
    assert parse_fib(printed("fib_trie.txt")) == {IPv4Address("10.77.1.13"), IPv4Address("127.0.0.1")}
    assert parse_gateway(printed("route.txt")) == IPv4Address("10.77.1.1")
    assert parse_gateway("Iface\tDestination\n") is None


def test_lost_sites_are_left_alone_and_are_no_strangers(platform: Platform) -> None:
    layout = layout_of(platform.losing("sib-01", "sib-03"))
    have = dict(containers(layout))
    assert set(have) == set(layout_of(platform).by_name), "they are known all the same"
    for name in ("db-sib-01", "apps-sib-03"):
        have[name] = replace(have[name], init=None)
    have["consul-nomad-sib-01"] = replace(have["consul-nomad-sib-01"], config="of another lab", frozen=True)
    del have["db-sib-03"]
    assert drift(layout, Observed(network(layout), have, 1024)) == ()
    have["db-fsn-01"] = replace(have["db-fsn-01"], init=None)
    assert lines(layout, Observed(network(layout), have, 1024)) == ["start container db-fsn-01: stopped"]
