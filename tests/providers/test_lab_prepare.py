"""What each line of a lab's plan makes the lab do. That it works is proven in tests/lab/test_provider.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from tercet.converge.events import Event, silent
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tercet.providers.lab import cuts, provider
from tercet.providers.lab.drift import drift
from tercet.providers.lab.layout import Layout, layout_of
from tercet.providers.lab.observe import Device, Observed
from tercet.providers.lab.provider import LabProvider
from tests.providers.test_lab_drift import containers, network

GONE = IPv4Network("10.99.0.0/24")


class Recorder:
    """Anything of a lab: notes what is called of it, and fails at what is in `broken`."""

    def __init__(self, calls: list[tuple[Any, ...]], broken: Sequence[str] = ()) -> None:
        self._calls, self._broken = calls, broken

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any) -> None:
            self._calls.append((method, *(getattr(each, "name", each) for each in arguments)))
            if method in self._broken:
                raise OSError(28, "No space left on device")

        return call


def lab(layout: Layout, calls: list[tuple[Any, ...]], *broken: str) -> LabProvider:
    made = LabProvider.__new__(LabProvider)
    made._layout = layout
    made._network = made._containers = Recorder(calls, broken)  # type: ignore[assignment]
    made.__dict__["faults"] = Recorder(calls)
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(provider, "raise_watchers", lambda: made.append(("raise_watchers",)))
    return made


async def test_a_lab_that_is_nowhere_is_made_and_all_delays_at_once(
    platform: Platform, calls: list[tuple[Any, ...]]
) -> None:
    layout, events = layout_of(platform), list[Event]()
    await lab(layout, calls).prepare(drift(layout, Observed(None, {}, 128)), events.append)
    assert calls[:6] == [
        ("raise_watchers",),
        ("raise_namespace",),
        *(("raise_bridge", network.name) for network in layout.networks),
    ]
    assert calls[6] == ("set_delays", layout.links)
    made = [call for call in calls[7:] if call[0] == "define"]
    assert sorted(made) == sorted(("define", container.name) for container in layout.containers)
    assert len(calls) == 7 + 2 * len(layout.containers), "each is defined and started, nothing else"
    assert {event.node for event in events if event.text.startswith("create container")} == set(layout.by_name)
    assert {event.node for event in events if "container" not in event.text} == {""}


async def test_every_kind_of_damage_has_its_repair(platform: Platform, calls: list[tuple[Any, ...]]) -> None:
    layout = layout_of(platform)
    found, states = network(layout), dict(containers(layout))
    site = layout.networks[0].subnet
    devices = {
        **found.devices,
        "br-old": Device((), "", up=True, master=""),
        layout.container("apps-sib-01").port: Device((), "", up=False, master=""),
    }
    found = replace(
        found, devices=devices, cut={(site, GONE): 12.0}, weak={(Capability.LOSS, 0): 3.0, (Capability.LATENCY, 1): 4.0}
    )
    states["db-sib-01"] = replace(states["db-sib-01"], frozen=True)
    states["db-sib-03"] = replace(states["db-sib-03"], slow=True)
    states["apps-sib-03"] = replace(states["apps-sib-03"], addresses=frozenset())
    states["db-fsn-01"] = replace(states["db-fsn-01"], init=None)
    states["apps-fsn-01"] = replace(states["apps-fsn-01"], image_exists=False)
    states["apps-old"] = states["apps-fsn-01"]
    await lab(layout, calls).prepare(drift(layout, Observed(found, states, 1024)), silent)
    in_order, others = calls[:7], calls[7:]
    assert in_order == [
        ("remove_bridge", "br-old"),
        ("nft", cuts.join([(site, GONE)]), "join sib-01→10.99.0.0/24 again"),
        ("steady", "sib-01"),
        ("steady", "sib-03"),
        ("plug", layout.container("apps-sib-01").port, "sib-01"),
        ("readdress", "apps-sib-03"),
        ("free_disk", "db-sib-03"),
    ]
    assert sorted(others, key=repr) == sorted(
        [
            ("remove", "apps-old"),
            ("thaw", ["db-sib-01"]),
            ("start", "db-sib-01"),
            ("start", "db-fsn-01"),
            ("stop", "apps-fsn-01"),
            ("define", "apps-fsn-01"),
            ("start", "apps-fsn-01"),
        ],
        key=repr,
    )


async def test_containers_wait_for_a_network_that_could_be_made(
    platform: Platform, calls: list[tuple[Any, ...]]
) -> None:
    layout, events = layout_of(platform), list[Event]()
    with pytest.raises(TercetError, match=r"create network sib-01: .*No space left on device"):
        await lab(layout, calls, "raise_bridge").prepare(drift(layout, Observed(None, {}, 1024)), events.append)
    assert calls == [("raise_namespace",), ("raise_bridge", "sib-01")]
    assert [event.state for event in events if event.text.startswith("create network")] == ["started", "failed"]


async def test_what_is_no_change_of_a_lab_is_refused(platform: Platform, calls: list[tuple[Any, ...]]) -> None:
    build = Change(Verb.BUILD, Target(Kind.IMAGE, "", text="image"), "not in the cache")
    with pytest.raises(TercetError, match="the plan says `build image`, which is not a change of a lab; plan again"):
        await lab(layout_of(platform), calls).prepare([build], silent)
    assert calls == []
