"""Faults are told apart by site, also where all servers have the same name and the same VMIDs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tercet.converge.events import silent
from tercet.providers.base import FREEZE
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
            process = started[site] = subprocess.Popen(["sleep", "300"], start_new_session=True)
            line = f"{process.pid} bash -c sleep tercet-healer t-pve freeze 101 60.0 99999999.0"
            host.containers.programs["pgrep"] = f"echo '{line}'"  # type: ignore[attr-defined]
            host.containers.programs["lxc-unfreeze"] = "exit 0"  # type: ignore[attr-defined]
        yield started
    finally:
        for process in started.values():
            process.kill()
            process.wait(10)


async def test_servers_of_one_name_do_not_hide_each_others_faults(
    provider: Make, alike: dict[str, FakeHost], healers: dict[str, subprocess.Popen[bytes]]
) -> None:
    made = provider()
    await made.prepare(await made.survey(), silent)
    names = {site: host.pve.ct(101).config["hostname"] for site, host in alike.items()}
    assert len(set(names.values())) == 3

    active = await made.faults.faults_active()
    assert sorted((fault.kind, fault.target) for fault in active) == sorted((FREEZE, name) for name in names.values())

    await made.faults.thaw([names["sib-03"]])
    assert healers["sib-03"].wait(10) != 0
    assert healers["sib-01"].poll() is None and healers["fsn-01"].poll() is None
