"""The provider against three fake servers: made, found again, compared, repaired, reached and destroyed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tercet.converge.events import Event, silent
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.errors import TercetError
from tercet.inventory.model import TailnetModel
from tercet.providers.proxmox import nodes
from tercet.providers.proxmox import provider as provider_module
from tercet.providers.proxmox.pct import gone
from tercet.providers.proxmox.provider import ProxmoxProvider
from tercet.tailnet.control_plane import ControlPlane
from tests.proxmox.fakehost import MAX_SESSIONS, FakeHost

Make = Callable[[], ProxmoxProvider]
NODES = {f"{role}-{site}" for role in ("consul-nomad", "apps", "db") for site in ("sib-01", "sib-03", "fsn-01")}


async def raised(make: Make) -> ProxmoxProvider:
    provider = make()
    await provider.prepare((await provider.survey()).changes, silent)
    return provider


def lines(changes: tuple[Change, ...]) -> list[str]:
    return [f"{change.verb} {change.what}: {change.reason}" for change in changes]


def container(host: FakeHost, role: str) -> Any:
    return next(ct for ct in host.pve.cts if f"role.{role}" in ct.config["tags"])


async def test_nine_containers_are_made_as_the_inventory_says(provider: Make, hosts: dict[str, FakeHost]) -> None:
    first = provider()
    plan = (await first.survey()).changes
    assert [change.verb for change in plan] == ["upload", "create", "create", "create"] * 3

    await first.prepare(plan, silent)

    assert (await first.survey()).changes == ()
    assert await first.running() == NODES
    config = container(hosts["sib-03"], "db").config
    assert config["hostname"] == "db-sib-03"
    assert set(config["tags"].split(";")) == {"tercet.t-pve", "site.sib-03", "role.db"}
    assert config["features"] == "nesting=1"
    assert config["dev0"] == "/dev/net/tun"
    assert (config["onboot"], config["startup"]) == (1, "order=2")
    assert config["unprivileged"] == 1
    assert "bridge=vmbr0" in config["net0"] and "ip=dhcp" in config["net0"]
    assert config["rootfs"] == "local-lvm:vm-102-disk-0,size=4G"


async def test_root_with_a_password_needs_no_ssh_for_the_device(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVE_SECRET", hosts["sib-01"].pve.password)
    inventory["proxmox"]["login"] = "root@pam"
    await raised(provider)
    assert all(ct.config["dev0"] == "/dev/net/tun" for host in hosts.values() for ct in host.pve.cts)
    assert not any("pct set" in command for host in hosts.values() for command in host.commands)


async def test_a_second_look_finds_everything_again_from_nothing(provider: Make) -> None:
    await raised(provider)
    assert (await provider().survey()).changes == ()


async def test_drift_is_found_with_its_reason_and_repaired(provider: Make, hosts: dict[str, FakeHost]) -> None:
    await raised(provider)
    sib, fsn = hosts["sib-01"], hosts["fsn-01"]
    container(sib, "apps").status = "stopped"
    container(sib, "db").config |= {"memory": 256, "cores": 4, "hostname": "db-old"}
    container(fsn, "consul-nomad").config |= {"onboot": 0, "tags": "tercet.t-pve;site.fsn-01;role.consul-nomad;mine"}
    del container(fsn, "db").config["dev0"]

    again = provider()
    plan = (await again.survey()).changes
    assert lines(plan) == [
        "start container apps-sib-01: stopped",
        "update container db-sib-01: renamed to db-old: applied at once, no restart; "
        "cores is 4, wanted 1: applied at once, no restart; memory is 256, wanted 512: applied at once, no restart",
        "update container consul-nomad-fsn-01: onboot is 0, wanted 1: applied at once, no restart",
        "update container db-fsn-01: /dev/net/tun is not passed in: applied at once from Proxmox 9 on, "
        "else when it starts",
    ]
    await again.prepare(plan, silent)
    assert (await again.survey()).changes == ()
    assert "mine" in container(fsn, "consul-nomad").config["tags"]


async def test_what_needs_a_restart_is_restarted_last_and_one_by_one(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    await raised(provider)
    for site in ("sib-01", "fsn-01"):
        container(hosts[site], "db").config["features"] = "fuse=1"
    again = provider()
    plan = (await again.survey()).changes
    assert lines(plan) == [
        "update container db-sib-01: features is fuse=1, wanted nesting=1: applied by a restart",
        "update container db-fsn-01: features is fuse=1, wanted nesting=1: applied by a restart",
        "restart container db-sib-01: features takes effect when it starts",
        "restart container db-fsn-01: features takes effect when it starts",
    ]
    assert [change.restarts for change in plan] == ["", "", "db-sib-01", "db-fsn-01"]
    began = {site: container(hosts[site], "db").started_at for site in ("sib-01", "fsn-01")}
    await again.prepare(plan, silent)
    assert (await again.survey()).changes == ()
    first, second = (container(hosts[site], "db") for site in ("sib-01", "fsn-01"))
    assert began["sib-01"] < first.started_at < second.started_at
    assert first.config["features"] == "fuse=1,nesting=1"


async def test_a_change_that_waits_for_a_restart_is_still_in_the_plan(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    await raised(provider)
    ct = container(hosts["sib-01"], "db")
    del ct.config["features"]
    ct.pending["features"] = "nesting=1"
    assert lines((await provider().survey()).changes) == [
        "restart container db-sib-01: features takes effect when it starts"
    ]
    ct.config |= {"features": "nesting=1", "memory": 1024, "cores": 2}
    ct.pending = {"memory": 512, "cores": 1}
    assert lines((await provider().survey()).changes) == [
        "restart container db-sib-01: cores and memory take effect when it starts"
    ]
    ct.config |= {"memory": 512, "cores": 1, "startup": "order=9,up=30,down=60"}
    ct.pending = {}
    again = provider()
    await again.prepare((await again.survey()).changes, silent)
    assert ct.config["startup"] == "order=2,up=30,down=60"


async def test_a_disk_grows_and_never_shrinks(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    await raised(provider)
    inventory["proxmox"]["sizes"]["db"] = {"cores": 1, "memory": "512M", "disk": "6G"}
    again = provider()
    plan = (await again.survey()).changes
    assert lines(plan)[0] == "grow disk of db-sib-01: disk is 4 GiB, wanted 6 GiB: applied at once, no restart"
    await again.prepare(plan, silent)
    assert (await again.survey()).changes == ()
    assert "size=6G" in container(hosts["fsn-01"], "db").config["rootfs"]

    inventory["proxmox"]["sizes"]["db"] = {"cores": 1, "memory": "512M", "disk": "5G"}
    with pytest.raises(TercetError, match=r"disk cannot shrink. Write `disk: 6G`"):
        await provider().survey()


async def test_a_migrated_container_is_no_missing_one(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    for site, host in hosts.items():
        host.pve.add_node("spare")
        next(each for each in inventory["sites"] if each["name"] == site)["proxmox"]["node"] = host.node
    await raised(provider)
    container(hosts["sib-01"], "db").node = "spare"
    again = provider()
    assert (await again.survey()).changes == ()
    assert "db-sib-01" in await again.running()


async def test_behind_one_api_of_a_cluster_each_site_has_its_nodes_own_ssh(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    host = hosts["sib-01"]
    for site, node in zip(inventory["sites"], ("pve-a", "pve-b", "pve-sib-01"), strict=True):
        host.pve.add_node(node)
        site["proxmox"] = {**host.site(), "node": node}
    host.pve.fail("GET", "/cluster/status", 403, "Permission check failed (/, Sys.Audit)")
    with pytest.raises(TercetError, match=r"address of pve-b, .* write `ssh.host` of sib-03"):
        await provider()._sites["sib-03"].ssh()

    host.pve.failures.clear()
    sites = provider()._sites
    assert [(await site.ssh()).at.host for site in sites.values()] == ["127.0.0.1", "192.0.2.12", "192.0.2.13"]
    assert (await sites["sib-03"].ssh("pve-sib-01")).at.host == "192.0.2.13"

    inventory["sites"][1]["proxmox"]["ssh"]["host"] = "ssh.example.org"
    assert (await provider()._sites["sib-03"].ssh()).at.host == "ssh.example.org"


async def test_guests_of_others_are_never_touched(provider: Make, hosts: dict[str, FakeHost]) -> None:
    pve = hosts["sib-01"].pve
    strangers = [
        pve.add_ct(900, "db-sib-01", node="pve-sib-01", status="running"),
        pve.add_ct(901, "apps-sib-01", node="pve-sib-01", config={"tags": "tercet.other;site.sib-01;role.apps"}),
    ]
    before = [dict(ct.config) for ct in strangers]
    made = await raised(provider)
    assert await made.running() == NODES
    await made.destroy(silent)
    assert pve.cts == strangers
    assert [ct.config for ct in strangers] == before
    assert strangers[0].status == "running"
    assert not hosts["fsn-01"].pve.cts


async def test_a_database_that_lost_a_tag_is_neither_made_anew_nor_destroyed(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    made = await raised(provider)
    ct = container(hosts["sib-01"], "db")
    for tags in ("tercet.t-pve;site.sib-01", "tercet.t-pve;role.db", "tercet.t-pve;site.old;role.db"):
        ct.config["tags"] = tags
        with pytest.raises(TercetError, match=r"role of the inventory, found without: db-sib-01 \(102 on pve-sib-01\)"):
            await provider().survey()
    destroy_plan = lines(await made.destroy_plan())
    assert len([line for line in destroy_plan if line.startswith("destroy")]) == 8
    assert any(line.startswith("keep container db-sib-01 (102 on pve-sib-01): it has the") for line in destroy_plan)
    await made.destroy(silent)
    assert hosts["sib-01"].pve.cts == [ct] and ct.status == "running"


async def test_two_containers_that_claim_to_be_one_node_stop_everything(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    await raised(provider)
    config = dict(container(hosts["sib-01"], "db").config)
    hosts["sib-01"].pve.add_ct(555, "copy", node="pve-sib-01", config=config)
    with pytest.raises(TercetError, match=r"expected one container with the tags of db-sib-01, found 102 .* and 555"):
        await provider().survey()


async def test_down_names_what_it_destroys_and_database_disks_before_all(provider: Make) -> None:
    made = await raised(provider)
    destroy_plan = lines(await made.destroy_plan())
    assert len(destroy_plan) == 9
    assert "destroy container db-sib-01 (102 on pve-sib-01): DATABASE, with local-lvm:vm-102-disk-0" in destroy_plan
    await made.destroy(silent)
    assert await made.running() == frozenset()
    assert await made.destroy_plan() == ()
    await made.destroy(silent)


async def test_a_container_that_cannot_be_destroyed_stays_as_it_is_and_keeps_no_other(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await raised(provider)
    kept = container(hosts["sib-01"], "consul-nomad")
    kept.config["protection"] = 1
    left: list[Any] = []

    async def addresses() -> tuple[dict[str, str], list[str]]:
        return dict.fromkeys(NODES - {"apps-sib-01"}, "100.64.0.1"), ["apps-sib-01"]

    async def leave(_tailnet: Any, *nodes: Any) -> None:
        left.extend(nodes[:2])

    monkeypatch.setattr(made, "_tailnet_addresses", addresses)
    monkeypatch.setattr(provider_module, "leave", leave)
    with pytest.raises(TercetError, match=r"found it protected: .* `pct set 100 -protection 0` on pve-sib-01"):
        await made.destroy(silent)
    assert hosts["sib-01"].pve.cts == [kept] and kept.status == "running"
    assert not hosts["fsn-01"].pve.cts
    assert set(left[0]) == NODES - {"apps-sib-01", "consul-nomad-sib-01"}
    assert left[1] == ["apps-sib-01"]


async def test_a_credential_of_the_tailnet_that_is_refused_stops_down_before_it_destroys(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await raised(provider)

    async def addresses() -> tuple[dict[str, str], list[str]]:
        return {"db-sib-01": "100.64.0.1"}, []

    monkeypatch.setattr(made, "_tailnet_addresses", addresses)
    made._tailnet = ControlPlane(TailnetModel(api_key="command:echo x", login_server="https://127.0.0.1:1"))
    with pytest.raises(TercetError, match=r"control server at https://127.0.0.1:1, found(.|\n)*Nothing was destroyed"):
        await made.destroy(silent)
    assert await made.running() == NODES


async def test_the_image_is_sent_once_to_each_storage_and_verified(provider: Make, hosts: dict[str, FakeHost]) -> None:
    events: list[Event] = []
    made = provider()
    await made.prepare((await made.survey()).changes, events.append)
    template = [event for event in events if event.phase.startswith("template/")]
    assert len([event for event in template if event.state == "done"]) == 3
    assert any(event.fraction == 1.0 for event in template)
    name = "vztmpl/debian-13-tercet_0123456789abcdef.tar.zst"
    assert name in hosts["sib-01"].pve.storages["local"]["volumes"]

    await made.destroy(silent)
    again = await raised(provider)
    assert await again.running() == NODES
    uploads = [request for request in hosts["sib-01"].pve.requests if request[1].endswith("/upload")]
    assert len(uploads) == 1


async def test_sites_on_one_server_share_its_storage_and_its_numbers(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One upload, and no VMID that is given to two creations."""
    host = hosts["sib-01"]
    for site in inventory["sites"]:
        site["proxmox"] = host.site()
    given: list[str] = []
    nextid = host.pve._nextid

    async def slow(v: Any, user: str) -> str:
        given.append(await nextid(v, user))
        await asyncio.sleep(0.1)
        return given[-1]

    monkeypatch.setattr(host.pve, "_nextid", slow)
    made = await raised(provider)
    assert await made.running() == NODES
    assert len([request for request in host.pve.requests if request[1].endswith("/upload")]) == 1
    assert sorted(set(given)) == sorted(given)


@pytest.mark.parametrize("damage", ["torn", "other content"])
async def test_a_damaged_template_is_replaced(provider: Make, hosts: dict[str, FakeHost], damage: str) -> None:
    made = await raised(provider)
    await made.destroy(silent)
    local = hosts["sib-01"].pve.storages["local"]
    name = "debian-13-tercet_0123456789abcdef.tar.zst"
    if damage == "torn":
        local["volumes"][f"vztmpl/{name}"]["size"] = 10
    else:
        files = hosts["sib-01"].containers.files  # type: ignore[attr-defined]
        files[f"local/{name}"] = b"x" * len(files[f"local/{name}"])
    await raised(provider)
    uploads = [request for request in hosts["sib-01"].pve.requests if request[1].endswith("/upload")]
    assert len(uploads) == 2


async def test_programs_run_with_their_input_output_and_status(provider: Make) -> None:
    made = await raised(provider)
    done = await made.run("db-fsn-01", ("sh", "-c", "cat; echo no >&2; exit 7"), stdin=b"a\0b\n", timeout=60)
    assert (done.status, done.stdout, done.stderr) == (7, b"a\0b\n", b"no\n")
    big = bytes(range(256)) * 8192
    done = await made.run("db-fsn-01", ("cat",), stdin=big, timeout=60)
    assert done.stdout == big
    done = await made.run("apps-fsn-01", ("printf", "%s|", "a b", "'", '"$x"', ""), timeout=60)
    assert done.stdout == b'a b|\'|"$x"||'
    done = await made.run("apps-fsn-01", ("env",), timeout=60)
    assert b"PVE_SECRET" not in done.stdout and b"HOME=/root\n" in done.stdout


def unique_nap() -> str:
    """Seconds for sleep(1) that nobody else on the machine has, other runs of these tests among them."""
    return f"1{secrets.randbelow(10**9):09}"


async def test_a_program_that_hangs_is_given_up_and_ended(provider: Make) -> None:
    made = await raised(provider)
    nap = unique_nap()
    with pytest.raises(Unreachable, match=r"did not end within 1 s"):
        await made.run("db-fsn-01", ("sleep", nap), timeout=1)
    async with asyncio.timeout(60):
        while (await made.run("db-fsn-01", ("pgrep", "-f", f"^sleep {nap}"), timeout=60)).status == 0:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("ending", ["close", "terminate", "kill"])
async def test_a_spawned_program_ends_with_its_input_or_its_process(provider: Make, ending: str) -> None:
    made = await raised(provider)
    nap = unique_nap()
    process = await made.spawn("db-fsn-01", ("sh", "-c", f"echo begun; exec sleep {nap}"))
    assert process.stdout is not None and process.stdin is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"begun\n"
        if ending == "close":
            process.stdin.close()
        else:
            getattr(process, ending)()
        await process.wait()
        while (await made.run("db-fsn-01", ("pgrep", "-f", f"^sleep {nap}"), timeout=60)).status == 0:
            await asyncio.sleep(0.1)


async def test_a_spawned_program_talks_both_ways(provider: Make) -> None:
    made = await raised(provider)
    process = await made.spawn("db-fsn-01", ("sh", "-c", "while read x; do echo got $x; done; exit 5"))
    assert process.stdout is not None and process.stdin is not None
    async with asyncio.timeout(60):
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"got " + word + b"\n"
        process.stdin.close()
        assert await process.wait() == 5


async def test_a_stopped_or_absent_node_is_unreachable_with_the_reason(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    made = provider()
    with pytest.raises(Unreachable, match="db-sib-01: there is no such container"):
        await made.run("db-sib-01", ("true",), timeout=60)
    made = await raised(provider)
    await made.run("db-sib-01", ("true",), timeout=60)
    container(hosts["sib-01"], "db").status = "stopped"
    with pytest.raises(Unreachable, match="db-sib-01: the container does not run"):
        await made.run("db-sib-01", ("true",), timeout=60)


async def test_what_a_program_says_of_something_absent_is_not_taken_for_its_container(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    """psql ends with 2 where a role does not exist; the program must not run a second time."""
    made = await raised(provider)
    before = len(hosts["sib-01"].commands)
    script = """echo 'psql: error: FATAL:  role "x" does not exist' >&2; exit 2"""
    done = await made.run("db-sib-01", ("sh", "-c", script), timeout=60)
    assert (done.status, len(hosts["sib-01"].commands)) == (2, before + 1)


@pytest.mark.parametrize(
    "words", ["container '102' not running!", "Configuration file 'nodes/a/lxc/102.conf' does not exist"]
)
def test_what_pct_says_of_a_container_that_is_gone_is_recognised(words: str) -> None:
    warned = f"perl: warning: Setting locale failed.\n{words}\n".encode()
    assert gone(Completed(255, b"", warned)) == words
    assert gone(Completed(255, b"", f"x {words}".encode())) is None


async def test_a_command_waits_for_a_session_and_ends_no_other(provider: Make, hosts: dict[str, FakeHost]) -> None:
    made = await raised(provider)
    host = hosts["fsn-01"]

    async def keep() -> asyncio.subprocess.Process:
        process = await made.spawn("db-fsn-01", ("sh", "-c", "echo begun; exec sleep 600"))
        assert process.stdout is not None and await process.stdout.readline() == b"begun\n"
        return process

    kept = [await keep() for _ in range(MAX_SESSIONS)]
    before = host.ssh_way.connections
    with pytest.raises(Unreachable, match="SSH opens no session: Session refused"):
        await made.run("db-fsn-01", ("true",), timeout=4)
    waiting = [asyncio.create_task(made.run("db-fsn-01", ("true",), timeout=100)) for _ in range(20)]
    kept.pop().kill()
    assert [each.status for each in await asyncio.gather(*waiting)] == [0] * 20
    assert host.ssh_way.connections == before
    assert [process.returncode for process in kept] == [None] * (MAX_SESSIONS - 1)
    for process in kept:
        process.kill()


async def test_one_operator_at_a_time(provider: Make) -> None:
    made, other = provider(), provider()
    async with made.lock("anna@desk (process 1): up"):
        with pytest.raises(TercetError, match=r"changed by anna@desk \(process 1\): up since 20.*free after 60 s"):
            async with other.lock("ben@lap (process 2): apply"):
                pass
    async with asyncio.timeout(90), other.lock("ben@lap (process 2): apply"):
        pass


async def test_the_lock_needs_most_servers_and_not_all(provider: Make, hosts: dict[str, FakeHost]) -> None:
    made, other = provider(), provider()
    hosts["sib-01"].call(hosts["sib-01"].vanish())
    async with made.lock("anna"):
        with pytest.raises(TercetError, match="changed by anna"):
            async with other.lock("ben"):
                pass
    hosts["sib-03"].call(hosts["sib-03"].vanish())
    with pytest.raises(TercetError, match="on most of its 3 servers, found only 1 reachable"):
        async with provider().lock("anna"):
            pass


async def test_who_loses_the_lock_on_most_servers_is_stopped(provider: Make, hosts: dict[str, FakeHost]) -> None:
    made = provider()
    reached = []
    with pytest.raises(TercetError, match=r"most of its 3 servers until the end, found it on 1 of them"):
        async with made.lock("anna"):
            hosts["sib-01"].call(hosts["sib-01"].vanish())
            await asyncio.sleep(0.5)
            reached.append("one lost is none")
            hosts["sib-03"].call(hosts["sib-03"].vanish())
            await asyncio.sleep(60)
            reached.append("went on")
    assert reached == ["one lost is none"]


async def test_an_error_under_the_lock_is_raised_as_it_is(provider: Make) -> None:
    with pytest.raises(TimeoutError, match="of the body"):
        async with provider().lock("anna"):
            raise TimeoutError("of the body")


async def test_two_sites_on_one_server_have_one_lock(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][1]["proxmox"] = hosts["sib-01"].site()
    async with provider().lock("anna"):
        with pytest.raises(TercetError, match="changed by anna"):
            async with provider().lock("ben"):
                pass


async def test_a_shell_is_the_systems_own_ssh(provider: Make, hosts: dict[str, FakeHost], tmp_path: Any) -> None:
    made = await raised(provider)
    words = await made.shell("db-sib-01", ("psql",))
    assert words[0] == "ssh" and f"UserKnownHostsFile={tmp_path}/known_hosts" in words
    assert words[-1].startswith("pct exec 102 -- env -i ") and words[-1].endswith(" psql")
    assert str(hosts["sib-01"].ssh_way.port) in words


async def test_the_servers_of_lost_sites_are_neither_asked_nor_needed(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    await raised(provider)
    inventory["lost_sites"] = ["sib-01", "sib-03"]
    asked = {site: len(hosts[site].commands) for site in ("sib-01", "sib-03")}
    for site in asked:
        hosts[site].call(hosts[site].vanish())
    left = provider()
    survey = await left.survey()
    assert (survey.changes, survey.away, len(survey.running)) == ((), {}, 3)
    async with left.lock("anna"):  # of one server, that is most of them
        assert (await left.run("db-fsn-01", ("true",), timeout=20)).status == 0
    assert [change.what for change in await left.destroy_plan()] == [
        f"container {role}-fsn-01 (10{n} on pve-fsn-01)" for n, role in enumerate(("consul-nomad", "apps", "db"))
    ]
    assert asked == {site: len(hosts[site].commands) for site in asked}


async def test_in_a_cluster_the_containers_of_a_lost_site_are_no_strays(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    """One API that lists all sites' containers."""
    await raised(provider)
    inventory["lost_sites"] = ["sib-03"]
    cluster = hosts["sib-01"].pve
    cluster.cts.extend(hosts["sib-03"].pve.cts)
    left = provider()
    assert (await left.survey()).changes == ()
    assert not [change for change in await left.destroy_plan() if "sib-03" in change.what]


async def test_a_closed_provider_connects_anew(provider: Make) -> None:
    made = await raised(provider)
    await made.close()
    assert (await made.run("db-sib-01", ("true",), timeout=20)).status == 0
    assert len(await made.running()) == 9


async def test_a_place_is_not_taken_as_known_for_ever(provider: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is gone may have left its number to one that is not the platform's."""
    made = await raised(provider)
    assert (await made.run("db-sib-01", ("true",), timeout=20)).status == 0
    site = made._sites["sib-01"]
    located = site.located

    async def without() -> dict[str, Any]:
        return {name: item for name, item in (await located()).items() if name != "db-sib-01"}

    monkeypatch.setattr(site, "located", without)
    assert (await made.run("db-sib-01", ("true",), timeout=20)).status == 0
    monkeypatch.setattr(nodes, "KNOWN_S", 0.0)
    with pytest.raises(Unreachable, match="there is no such container"):
        await made.run("db-sib-01", ("true",), timeout=20)


async def test_a_silent_api_alone_keeps_no_program_from_a_node(provider: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await raised(provider)
    assert (await made.run("db-sib-01", ("true",), timeout=20)).status == 0

    async def silent_api() -> dict[str, Any]:
        raise Unreachable("no answer")

    monkeypatch.setattr(made._sites["sib-01"], "located", silent_api)
    monkeypatch.setattr(nodes, "KNOWN_S", 0.0)
    assert (await made.run("db-sib-01", ("true",), timeout=20)).status == 0
