"""Faults: told apart by site, also on servers of one name with the same VMIDs; who is not healed keeps the healer."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tercet.converge.events import silent
from tercet.errors import TercetError
from tercet.inventory.providers import Capability
from tercet.providers.proxmox import faults
from tercet.providers.proxmox.provider import ProxmoxProvider
from tests.proxmox.fakehost import FakeHost

Make = Callable[[], ProxmoxProvider]


@pytest.fixture
def alike(hosts: dict[str, FakeHost]) -> dict[str, FakeHost]:
    """Three servers as their installers leave them: each is called pve, and counts from 100."""
    for host in hosts.values():
        host.node = "pve"
        host.pve.nodes = {"pve": {"online": True}}
    return hosts


@pytest.fixture
def healers(alike: dict[str, FakeHost]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A healer on each server for the container 101 there: a process that can be ended, and what pgrep says of it."""
    started = {}
    try:
        for site, host in alike.items():
            process = started[site] = subprocess.Popen(["sleep", "900"], start_new_session=True)
            line = f"{process.pid} bash -c sleep tercet-healer t-pve freeze 101 60.0 99999999.0"
            host.containers.programs["pgrep"] = f"echo '{line}'"  # type: ignore[attr-defined]
            host.containers.programs["lxc-unfreeze"] = "exit 0"  # type: ignore[attr-defined]
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait(60)


async def test_servers_of_one_name_do_not_hide_each_others_faults(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    await made.prepare((await made.survey()).changes, silent)
    names = {site: host.pve.ct(101).config["hostname"] for site, host in alike.items()}
    assert len(set(names.values())) == 3

    active = await made.faults.faults_active()
    assert sorted((fault.kind, fault.target) for fault in active) == sorted(
        (Capability.FREEZE, name) for name in names.values()
    )

    await made.faults.thaw([names["sib-03"]])
    assert healers["sib-03"].wait(60) != 0
    assert healers["sib-01"].poll() is None and healers["fsn-01"].poll() is None


def program(host: FakeHost, name: str, script: str) -> None:
    host.containers.programs[name] = script  # type: ignore[attr-defined]


async def nodes_of_101(made: ProxmoxProvider, alike: dict[str, FakeHost]) -> dict[str, str]:
    """Raise the platform; the node that is the container 101 at each site."""
    await made.prepare((await made.survey()).changes, silent)
    return {site: host.pve.ct(101).config["hostname"] for site, host in alike.items()}


async def test_who_is_not_thawed_keeps_the_healer_and_the_others_are_thawed(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    names = await nodes_of_101(made, alike)
    program(alike["sib-01"], "lxc-unfreeze", "echo device busy >&2; exit 1")
    with pytest.raises(TercetError, match=rf"^{names['sib-01']}: pve \(sib-01\): device busy$"):
        await made.faults.thaw(list(names.values()))
    assert healers["sib-03"].wait(10) != 0 and healers["fsn-01"].wait(10) != 0
    assert healers["sib-01"].poll() is None


async def test_who_is_not_started_keeps_the_healer_and_the_others_are_started(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    names = await nodes_of_101(made, alike)
    for host in alike.values():
        host.pve.ct(101).status = "stopped"
    alike["sib-01"].pve.fail("POST", "/status/start", 500, "got no worker upid")
    with pytest.raises(TercetError, match=rf"^{names['sib-01']}: .*\(500\): got no worker upid"):
        await made.faults.start(list(names.values()))
    assert [host.pve.ct(101).status for host in alike.values()] == ["stopped", "running", "running"]
    assert healers["sib-03"].wait(10) != 0 and healers["fsn-01"].wait(10) != 0
    assert healers["sib-01"].poll() is None


async def test_one_healing_that_fails_keeps_no_other_from_being_tried(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    names = await nodes_of_101(made, alike)
    killed = alike["sib-03"]
    killed.pve.ct(101).status = "stopped"
    program(killed, "pgrep", killed.containers.programs["pgrep"].replace("freeze", "kill"))  # type: ignore[attr-defined]
    program(alike["sib-01"], "lxc-unfreeze", "exit 1")
    with pytest.raises(TercetError, match=names["sib-01"]):
        await made.faults.heal_all()
    assert killed.pve.ct(101).status == "running"
    assert healers["sib-01"].poll() is None


async def test_a_server_that_does_not_answer_keeps_no_other_from_being_healed_and_is_named(
    provider: Make,
    alike: dict[str, FakeHost],
    healers: dict[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faults, "TIMEOUT", 2.0)
    made = provider()
    await nodes_of_101(made, alike)
    program(alike["sib-01"], "pgrep", "exec sleep 99")
    with pytest.raises(TercetError, match=r"sib-01.*; its faults end by themselves"):
        await made.faults.heal_all()
    assert healers["sib-03"].wait(10) != 0 and healers["fsn-01"].wait(10) != 0
    assert healers["sib-01"].poll() is None


async def test_a_fault_that_is_not_made_leaves_the_healer_of_an_earlier_one(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    names = await nodes_of_101(made, alike)
    alike["sib-01"].pve.ct(101).status = "stopped"
    with pytest.raises(TercetError, match=f"freeze {names['sib-01']}: the container does not run"):
        await made.faults.freeze([names["sib-01"]], seconds=60)
    assert healers["sib-01"].poll() is None


async def test_a_fault_made_in_part_has_its_healer_in_place_of_an_earlier_one(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    made = provider()
    names = await nodes_of_101(made, alike)
    thawed = tmp_path / "thawed"
    program(alike["sib-01"], "lxc-freeze", "echo cannot freeze >&2; exit 1")
    program(alike["sib-01"], "lxc-unfreeze", f'echo "$@" > {thawed}')
    with pytest.raises(TercetError, match="cannot freeze"):
        await made.faults.freeze([names["sib-01"]], seconds=0.2)
    assert healers["sib-01"].wait(10) != 0
    async with asyncio.timeout(60):
        while not (thawed.exists() and thawed.read_text()):
            await asyncio.sleep(0.05)
    assert thawed.read_text() == "--name 101\n"


async def test_a_cut_that_a_running_node_does_not_make_is_an_error_and_a_stopped_node_needs_none(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in review: a drill would have passed although a node of the site that was cut off still sent packets."""
    made = provider()
    await made.prepare((await made.survey()).changes, silent)
    host = hosts["sib-01"]
    host.pve.ct(101).status = "stopped"
    await made.faults._at("sib-01", ("true",), "cut")

    host.pve.ct(101).status = "running"
    monkeypatch.setattr(faults, "TIMEOUT", 2.0)
    with pytest.raises(TercetError, match=r"^cut sib-01: \S+-sib-01: .* did not end within 2 s .*its container runs"):
        await made.faults._at("sib-01", ("sleep", "30"), "cut")
