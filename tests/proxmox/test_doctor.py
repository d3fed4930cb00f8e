"""`tercet doctor`: silent where all is well, and each thing that is not found with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tercet.converge.events import silent
from tercet.providers.preflight import Check
from tercet.providers.proxmox import preflight
from tercet.providers.proxmox.api import Api, NoAnswer
from tercet.providers.proxmox.declaration import host_of
from tercet.providers.proxmox.privileges import Privilege, holds, privileges
from tercet.providers.proxmox.provider import ProxmoxProvider
from tercet.tailnet.control_plane import ControlPlane
from tests.proxmox.fakehost import GRANTS, SECRET, TOKEN, FakeHost
from tests.proxmox.test_tailnet import Control

Make = Callable[[], ProxmoxProvider]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_AUTHKEY", "tskey-auth-x")


async def bad(make: Make) -> list[Check]:
    checks = await make().preflight()
    assert all(check.remedy for check in checks if check.state in ("failed", "warning"))
    assert SECRET not in repr(checks)
    return [check for check in checks if check.state in ("failed", "warning")]


async def only(make: Make) -> Check:
    (check,) = await bad(make)
    return check


async def test_three_sound_servers_pass_and_every_subject_is_looked_at(provider: Make) -> None:
    checks = await provider().preflight()
    assert [check for check in checks if check.state in ("failed", "warning")] == []
    titles = " ".join(check.title for check in checks if check.about in ("sib-01", "all"))
    for subject in (
        *("API", "permission VM.Allocate on /vms", "storage local-lvm takes rootdir", "storage local takes vztmpl"),
        *("memory", "bridge vmbr0", "image", "SSH", "pct", "/dev/net/tun", "nesting", "pve-container", "nftables"),
        *("clocks agree", "way between sib-01 and fsn-01", "tailnet login", "control server", "container db-sib-01"),
    ):
        assert subject in titles


async def test_it_changes_nothing_on_the_servers(provider: Make, hosts: dict[str, FakeHost]) -> None:
    await provider().preflight()
    for host in hosts.values():
        assert {method for method, *_ in host.pve.requests} == {"GET"}
        assert host.pve.cts == []


async def test_the_documented_grants_are_what_is_needed(read: Any) -> None:
    held = {path: dict.fromkeys(names.split(), 1) for path, names in GRANTS.items()}
    for privilege in privileges(host_of(read().settings, "sib-01"), "pve-sib-01"):
        assert holds(held, privilege), privilege
        assert not holds({path: names for path, names in held.items() if privilege.name not in names}, privilege)


@pytest.mark.parametrize("missing", ["VM.Config.Network", "Datastore.AllocateTemplate", "SDN.Use"])
async def test_a_missing_permission_is_one_line_with_the_command(
    provider: Make, hosts: dict[str, FakeHost], missing: str
) -> None:
    acl = hosts["sib-03"].pve.acl
    acl[TOKEN] = [(path, privileges - {missing}) for path, privileges in acl[TOKEN]]
    check = await only(provider)
    assert (check.about, check.state) == ("sib-03", "failed")
    assert missing in check.title
    path = check.title.rpartition(" ")[2]
    assert check.remedy.startswith(f"pveum acl modify {path} --users 'tercet@pve' --roles ROLE")
    assert check.remedy.endswith(f"with privilege separation, then again with --tokens '{TOKEN}'")


@pytest.mark.parametrize(
    ("held", "granted"),
    [
        ({"/": {"VM.Audit": 1}}, True),
        ({"/vms": {"VM.Audit": 1}}, True),
        ({"/vms": {"VM.Audit": 0}}, False),  # not on the containers, which are beneath
        ({"/": {"VM.Audit": 1}, "/vms": {"VM.Allocate": 1}}, False),  # the nearer path replaces what it would inherit
        ({"/vm": {"VM.Audit": 1}}, False),
        ({}, False),
    ],
)
def test_the_nearest_path_alone_counts_and_only_if_it_propagates(
    held: dict[str, dict[str, object]], granted: bool
) -> None:
    assert holds(held, Privilege("/vms", "VM.Audit", "see", beneath=True)) is granted


def test_on_the_path_itself_propagation_does_not_matter() -> None:
    storage = Privilege("/storage/local", "Datastore.Audit", "see")
    assert holds({"/storage/local": {"Datastore.Audit": 0}}, storage)
    assert not holds({"/storage": {"Datastore.Audit": 0}}, storage)


def no_content(host: FakeHost) -> None:
    host.pve.storages["local"]["content"] = "iso"


def no_room(host: FakeHost) -> None:
    host.pve.storages["local"]["avail"] = 1 << 20


def no_storage(host: FakeHost) -> None:
    host.pve.storages["other"] = host.pve.storages.pop("local-lvm")


def old_version(host: FakeHost) -> None:
    host.pve.version = "7.4-3"


def old_package(host: FakeHost) -> None:
    host.containers.programs["dpkg-query"] = "echo 6.0.9"  # type: ignore[attr-defined]


def no_pct(host: FakeHost) -> None:
    host.containers.programs["command"] = "exit 1"  # type: ignore[attr-defined]
    del host.containers.programs["pct"]  # type: ignore[attr-defined]


def old_cgroups(host: FakeHost) -> None:
    host.containers.programs["stat"] = "echo tmpfs"  # type: ignore[attr-defined]


def no_way_out(host: FakeHost) -> None:
    host.containers.programs["curl"] = "exit 28"  # type: ignore[attr-defined]


def stray(host: FakeHost) -> None:
    tags = {"tags": "tercet.t-pve;site.sib-01;role.cache"}
    host.pve.add_ct(444, "cache-sib-01", node="pve-sib-01", config=tags)


@pytest.mark.parametrize(
    ("spoil", "title", "found", "remedy"),
    [
        (no_content, "storage local takes vztmpl", "it takes iso", "pvesm set local --content iso,vztmpl"),
        (no_room, "storage local takes vztmpl", "0 GiB free, 1 GiB needed", "make room"),
        (no_storage, "storage local-lvm takes rootdir", "there is no such storage", "name one at `storage`"),
        (old_version, "API", "Proxmox VE 7.4-3", "upgrade to 8.4 or newer"),
        (old_package, "pve-container takes Debian 13", "6.0.9", "6.0.10 or newer"),
        (no_pct, "pct", "no such command", "`ssh.host`"),
        (old_cgroups, "nesting", "tmpfs, not version 2", "unified_cgroup_hierarchy"),
        (no_way_out, "control server", "no answer", "curl ended with 28"),
        (stray, "container cache-sib-01", "444 on pve-sib-01 has the platform's tag", "pct destroy 444"),
    ],
)
async def test_what_is_not_well_is_found(
    provider: Make, hosts: dict[str, FakeHost], spoil: Any, title: str, found: str, remedy: str
) -> None:
    spoil(hosts["sib-01"])
    (check,) = [check for check in await bad(provider) if not check.title.startswith("permission")]
    assert check.about == "sib-01"
    assert title in check.title and found in check.found and remedy in check.remedy


def little_free(host: FakeHost) -> None:
    host.pve._node_stats = lambda _online: {"maxmem": 8 << 30, "mem": 7 << 30}


def other_guests(host: FakeHost) -> None:
    for vmid in (900, 901):
        host.pve.add_vm(vmid, f"vm{vmid}", node="pve-sib-01", status="running", config={"memory": 3072})
    host.pve.add_vm(902, "off", node="pve-sib-01", status="stopped", config={"memory": 8192})


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (little_free, "1536 MiB for containers that do not run yet, 1024 of 8192 MiB free"),
        (other_guests, "1536 MiB wanted, 6144 MiB promised to other guests that run, 8192 MiB in the server"),
    ],
)
async def test_memory_that_is_not_free_or_promised_to_others(
    provider: Make, hosts: dict[str, FakeHost], spoil: Any, found: str
) -> None:
    spoil(hosts["sib-01"])
    check = await only(provider)
    assert (check.about, check.title, check.state, check.found) == ("sib-01", "memory", "warning", found)


async def test_sites_on_one_server_need_its_memory_and_storage_together(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][1]["proxmox"] = hosts["sib-01"].site()
    inventory["proxmox"]["sizes"]["db"]["memory"] = "3G"
    hosts["sib-01"].pve.storages["local-lvm"] |= {"type": "dir", "avail": 20 << 30}
    checks = await bad(provider)
    for site in ("sib-01", "sib-03"):
        found = {check.title: check for check in checks if check.about == site}
        assert found["memory"].found.startswith("8192 MiB wanted by sib-01 and sib-03, 0 MiB promised")
        assert found["storage local-lvm takes rootdir"].found == "20 GiB free, 24 GiB needed by sib-01 and sib-03"
        assert found["storage local-lvm takes rootdir"].state == "failed"
    assert not [check for check in checks if check.about == "fsn-01"]


async def test_a_server_that_goes_away_between_two_questions_is_a_line(
    provider: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Api.get

    async def vanishing(self: Api, path: str, **query: Any) -> Any:
        asked.append((self.host.site, path))
        if asked.count(("sib-01", "/nodes")) > 1 and asked[-1] == ("sib-01", "/nodes"):
            raise NoAnswer("it went away")
        return await get(self, path, **query)

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(Api, "get", vanishing)
    check = await only(provider)
    assert (check.about, check.title, check.found) == ("sib-01", "Proxmox node", "it went away")


async def test_a_torn_image_is_not_said_to_be_there(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], tmp_path: Path
) -> None:
    inventory["cache"] = str(tmp_path)
    made = provider()
    await made.prepare((await made.survey()).changes, silent)
    name = "debian-13-tercet_0123456789abcdef.tar.zst"
    hosts["sib-01"].pve.storages["local"]["volumes"][f"vztmpl/{name}"]["size"] -= 1
    found = {check.about: check.found for check in await made.preflight() if check.title == "image"}
    assert found["sib-03"] == f"{name} is on local"
    assert found["sib-01"].startswith(f"{name} is torn on local, ") and "uploads it again" in found["sib-01"]


async def test_a_bridge_that_is_not_there(provider: Make, inventory: dict[str, Any]) -> None:
    inventory["sites"][2]["proxmox"]["bridge"] = "vmbr7"
    checks = [check for check in await bad(provider) if check.title.startswith("bridge")]
    assert "there is none of that name" in checks[0].found and "vmbr0" in checks[0].found


async def test_a_vmid_that_a_stranger_has(
    provider: Make, inventory: dict[str, Any], hosts: dict[str, FakeHost]
) -> None:
    inventory["sites"][0]["proxmox"]["vmids"] = {"apps": 700}
    hosts["sib-01"].pve.add_vm(700, "mail", node="pve-sib-01")
    hosts["sib-01"].pve.grant(TOKEN, "/", "VM.Audit")
    check = await only(provider)
    assert (check.title, check.found) == ("container apps-sib-01", "VMID 700 belongs to mail")


async def test_a_server_that_is_gone_fails_its_own_checks_alone(provider: Make, hosts: dict[str, FakeHost]) -> None:
    hosts["fsn-01"].call(hosts["fsn-01"].vanish())
    checks = await bad(provider)
    assert {check.about for check in checks} == {"fsn-01"}
    assert {check.title for check in checks} == {"API", "SSH"}


async def test_clocks_and_ways_are_compared(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    programs = hosts["sib-01"].containers.programs  # type: ignore[attr-defined]
    programs["date"] = "/bin/date -d '+60 seconds' +%s.%N"
    programs["ping"] = "echo 'rtt min/avg/max/mdev = 80.1/81.5/90.0/0.1 ms'"
    checks = {check.title: check for check in await bad(provider)}
    assert checks["clocks agree"].state == "failed"
    assert re.match(r"sib-01 is (59|60)\.", checks["clocks agree"].found)
    way = checks["way between sib-01 and sib-03"]
    assert "81.5 ms round trip" in way.found and way.remedy == "timing: relaxed"


async def test_a_tailnet_key_that_is_not_there(provider: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TS_AUTHKEY")
    check = await only(provider)
    assert check.title == "tailnet login" and "TS_AUTHKEY" in check.found


async def test_a_tailnet_login_that_may_not_make_keys(
    provider: Make, inventory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control()
    control.refuses = "/api/v2/tailnet/-/keys"
    monkeypatch.setattr(preflight, "ControlPlane", partial(ControlPlane, transport=httpx.MockTransport(control)))
    inventory["tailnet"] = {"api_key": "env:TS_AUTHKEY"}
    check = await only(provider)
    assert check.title == "tailnet login" and "accept GET /api/v2/tailnet/-/keys" in check.found


async def test_containers_are_recognised_and_one_that_moved_is_noted(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][2]["proxmox"]["node"] = "pve-fsn-01"
    made = provider()
    await made.prepare((await made.survey()).changes, silent)
    checks = {check.title: check for check in await made.preflight()}
    assert checks["container db-fsn-01"].found == "102 on pve-fsn-01, running"
    hosts["fsn-01"].pve.add_node("spare")
    hosts["fsn-01"].pve.ct(102).node = "spare"
    check = await only(provider)
    assert (check.state, check.found) == ("warning", "102 on spare, running, not on pve-fsn-01")
