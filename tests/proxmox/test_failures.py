"""What goes wrong on the way: each failure says what happened and how things stand, and a second run finishes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tercet.converge.events import silent
from tercet.converge.fleet import Unreachable
from tercet.errors import TercetError
from tercet.providers.proxmox import api as api_module
from tercet.providers.proxmox import site as site_module
from tercet.providers.proxmox.api import Api, NoAnswer, TaskFailed
from tercet.providers.proxmox.provider import ProxmoxProvider
from tercet.remote.hostkeys import HostKeys
from tests.proxmox.fakehost import PASSWORD, SECRET, FakeHost

Make = Callable[[], ProxmoxProvider]


async def up(make: Make) -> ProxmoxProvider:
    provider = make()
    await provider.prepare((await provider.survey()).changes, silent)
    return provider


async def failing(make: Make) -> str:
    with pytest.raises(TercetError) as caught:
        await up(make)
    text = str(caught.value)
    assert SECRET not in text and PASSWORD not in text
    return text


async def finished(make: Make) -> None:
    """A second run does the rest, and then there is nothing to do."""
    provider = await up(make)
    assert (await provider.survey()).changes == ()
    assert len(await provider.running()) == 9


# ------------------------------------------------------------------------------------------------ trust and login


async def test_a_wrong_fingerprint_stops_before_anything_is_sent(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][1]["proxmox"]["fingerprint"] = ":".join(["AB"] * 32)
    text = await failing(provider)
    assert hosts["sib-03"].fingerprint in text
    assert (
        f"the API at {hosts['sib-03'].api_way.address}:{hosts['sib-03'].api_way.port} to show the certificate" in text
    )
    assert "AB:AB:AB" in text
    assert "Nothing was sent. If the certificate was renewed, compare with `pvenode cert info`" in text
    assert hosts["sib-03"].pve.requests == []
    assert not any(host.pve.cts for host in hosts.values())
    inventory["sites"][1]["proxmox"]["fingerprint"] = hosts["sib-03"].fingerprint
    await finished(provider)


async def test_a_certificate_that_nobody_signed_is_refused_with_what_to_pin(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    del inventory["sites"][0]["proxmox"]["fingerprint"]
    text = await failing(provider)
    assert "self-signed certificate" in text
    assert f"fingerprint: {hosts['sib-01'].fingerprint}" in text
    assert hosts["sib-01"].pve.requests == []


async def test_a_certificate_that_the_given_authority_signed_is_accepted(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    for site in inventory["sites"]:
        del site["proxmox"]["fingerprint"]
        site["proxmox"]["ca"] = str(hosts[site["name"]].certificate)
    await finished(provider)


async def test_a_wrong_secret_is_refused_and_not_shown(provider: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVE_SECRET", "wrong-secret")
    text = await failing(provider)
    assert "(401): authentication failure" in text
    assert "Look at `login` (tercet@pve!up) and where `secret` comes from (env:PVE_SECRET)" in text
    assert "wrong-secret" not in text


async def test_a_missing_secret_names_its_place(provider: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PVE_SECRET")
    assert "no environment variable PVE_SECRET" in await failing(provider)


async def test_a_second_factor_asks_for_a_token(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVE_SECRET", PASSWORD)
    inventory["proxmox"]["login"] = "root@pam"
    for host in hosts.values():
        host.pve.tfa = True
    assert "second factor: make an API token" in await failing(provider)


async def test_an_expired_ticket_is_replaced_unnoticed(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVE_SECRET", PASSWORD)
    inventory["proxmox"]["login"] = "root@pam"
    made = provider()
    plan = (await made.survey()).changes
    for host in hosts.values():
        host.pve.revoke_tickets()
    await made.prepare(plan, silent)
    for host in hosts.values():
        host.pve.revoke_tickets()
    assert (await made.survey()).changes == ()


async def test_a_missing_permission_is_named(provider: Make, hosts: dict[str, FakeHost]) -> None:
    hosts["fsn-01"].pve.acl["tercet@pve!up"] = [
        (path, privileges - {"VM.Allocate"}) for path, privileges in hosts["fsn-01"].pve.acl["tercet@pve!up"]
    ]
    text = await failing(provider)
    assert "(403): Permission check failed" in text
    assert "`tercet doctor` lists every permission that is missing" in text


async def test_another_ssh_host_key_is_refused(provider: Make, hosts: dict[str, FakeHost], tmp_path: Path) -> None:
    await up(provider)
    host = hosts["sib-01"]
    old = host.ssh_key.get_fingerprint()
    host.ssh_key = asyncssh.generate_private_key("ssh-ed25519")
    host.call(host.listen_ssh())
    commands = len(host.commands)
    with pytest.raises(Unreachable) as caught:
        await provider().run("db-sib-01", ("true",), timeout=60)
    text = str(caught.value)
    assert old in text and host.ssh_key.get_fingerprint() in text
    assert f"take out its line in {tmp_path / 'known_hosts'}" in text
    assert len(host.commands) == commands


async def test_a_host_key_of_another_kind_is_refused_too(provider: Make, hosts: dict[str, FakeHost]) -> None:
    await up(provider)
    host = hosts["sib-01"]
    host.ssh_key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    host.call(host.listen_ssh())
    with pytest.raises(Unreachable, match="offers none of that kind"):
        await provider().run("db-sib-01", ("true",), timeout=60)


async def test_the_inventorys_host_key_decides_where_it_is_given(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    ssh = inventory["sites"][0]["proxmox"]["ssh"]
    ssh["host_key"] = "SHA256:" + "A" * 43
    text = await failing(provider)
    assert "take out `ssh.host_key` in the inventory" in text
    ssh["host_key"] = hosts["sib-01"].ssh_key.get_fingerprint()
    await finished(provider)


@pytest.mark.parametrize("kind", ["ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_the_inventorys_host_key_may_be_of_any_kind_that_the_server_has(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any], kind: str
) -> None:
    host = hosts["sib-01"]
    host.other_keys = [asyncssh.generate_private_key(kind)]
    host.call(host.listen_ssh())
    inventory["sites"][0]["proxmox"]["ssh"]["host_key"] = host.other_keys[0].get_fingerprint()
    server = await provider()._sites["sib-01"].ssh()
    assert (await server.run("true", timeout=60)).status == 0


async def test_a_host_key_that_cannot_be_pinned_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(TercetError, match=r"nowhere/known_hosts, found: No such file .* write the fingerprint at"):
        await HostKeys(tmp_path / "nowhere/known_hosts").pin("pve", 22, key)


async def test_a_key_that_the_server_does_not_know_is_an_error_with_the_remedy(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][0]["proxmox"]["ssh"]["key"] = str(hosts["sib-03"].client_key_file)
    assert "ssh-copy-id" in await failing(provider)


# ----------------------------------------------------------------------------------------------------- failed work


async def test_a_task_that_ends_in_an_error_shows_its_log_and_stops_no_other(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    host = hosts["sib-03"]
    original = host.containers.match

    async def broken(pve: Any) -> None:
        from fakepve.model import TaskError

        if any(ct.config.get("hostname") == "db-sib-03" and ct.status == "running" for ct in pve.cts):
            raise TaskError("startup for container '102' failed")
        await original(pve)

    host.containers.match = broken  # type: ignore[method-assign]
    text = await failing(provider)
    assert "create container db-sib-03: start db-sib-03: the task on pve-sib-03" in text
    assert "startup for container '102' failed" in text
    assert "TASK ERROR" in text
    assert "What was done before stays as it is; put the cause right and run `tercet up` again" in text
    last = text.splitlines()[-1]  # those beside it may have failed with it
    assert re.match(r"Done: [678] of 9 changes of containers. Not done, or not known to be: .*db-sib-03", last)
    assert last.endswith("Run `tercet up` again: it looks at what exists and does the rest")
    host.containers.match = original  # type: ignore[method-assign]
    assert len(hosts["fsn-01"].pve.cts) == 3
    await finished(provider)


@pytest.mark.parametrize("where", ["template", "while uploading"])
async def test_a_full_storage_says_so_and_leaves_nothing_torn(
    provider: Make, hosts: dict[str, FakeHost], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pve = hosts["sib-01"].pve
    pve.storages["local"]["avail"] = 10
    if where == "while uploading":
        monkeypatch.setattr(pve, "_space", lambda _store: (1 << 40, 0, 1 << 40))
    text = await failing(provider)
    assert ("expected room for the image" if where == "template" else "No space left on device") in text
    assert "make room" in text
    assert ("Nothing was uploaded" if where == "template" else "No template was made on local") in text
    assert "Done: 6 of 9 changes of containers. Not done, or not known to be: create container " in text
    assert not pve.cts
    assert "volumes" not in pve.storages["local"]
    assert len(hosts["sib-03"].pve.cts) == 3
    pve.storages["local"]["avail"] = 1 << 40
    await finished(provider)


async def test_a_storage_that_takes_no_templates_is_an_error_with_the_command(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    hosts["sib-01"].pve.storages["local"]["content"] = "iso,backup"
    assert "pvesm set local --content vztmpl" in await failing(provider)


async def test_an_upload_that_is_damaged_on_its_way_is_not_taken(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    pve = hosts["sib-01"].pve
    store = type(pve).store_file

    def damaged(self: Any, *args: Any) -> None:
        self.uploaded["data"] = b"x" + self.uploaded["data"][1:]
        store(self, *args)

    monkeypatch.setattr(type(pve), "store_file", damaged)
    assert "damaged on its way" in await failing(provider)
    assert not pve.cts
    monkeypatch.undo()
    monkeypatch.setenv("PVE_SECRET", SECRET)
    await finished(provider)


async def test_an_upload_that_breaks_off_is_begun_anew(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    pve = hosts["sib-01"].pve

    whole = pve._read_body

    async def hang_up(request: Any) -> Any:
        if not request.path.endswith("/upload"):
            return await whole(request)
        request.transport.close()
        raise ConnectionResetError

    monkeypatch.setattr(pve, "_read_body", hang_up, raising=True)
    text = await failing(provider)
    assert "its answer to POST /nodes/pve-sib-01/storage/local/upload was lost" in text
    assert "run `tercet up` again, it looks" in text
    assert "Done: 6 of 9 changes" in text
    monkeypatch.undo()
    monkeypatch.setenv("PVE_SECRET", SECRET)
    await finished(provider)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/lxc"),
        ("POST", "/status/start"),
        ("GET", "/cluster/resources"),
        ("GET", "/cluster/nextid"),
        ("GET", "/pending"),
    ],
)
async def test_an_api_that_answers_500_is_quoted(
    provider: Make, hosts: dict[str, FakeHost], method: str, path: str
) -> None:
    if path == "/pending":
        await up(provider)
    name = f"{hosts['sib-01'].api_way.address}:{hosts['sib-01'].api_way.port}"
    hosts["sib-01"].pve.fail(method, path, 500, "got no worker upid - start worker failed")
    text = await failing(provider)
    assert f"{name} refused {method} /" in text
    assert "(500): got no worker upid - start worker failed" in text
    assert (len(hosts["fsn-01"].pve.cts) == 3) == (path != "/cluster/resources"), "others are finished once it began"
    hosts["sib-01"].pve.failures.clear()
    await finished(provider)


@pytest.mark.parametrize("status", [502, 595, 596])
async def test_a_question_that_got_lost_between_nodes_is_asked_again(
    provider: Make, hosts: dict[str, FakeHost], status: int
) -> None:
    hosts["sib-01"].pve.fail("GET", "/cluster/resources", status, "Connection timed out", html=status == 502, times=2)
    await finished(provider)


async def test_a_dead_node_of_a_cluster_is_a_silent_site_and_no_refusal(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    made = await up(provider)
    hosts["sib-01"].pve.fail("GET", "/lxc", 595, "No route to host", times=100)
    assert len(await made.running()) == 6
    hosts["sib-01"].pve.fail("POST", "/status/start", 596, "Connection timed out")
    with pytest.raises(NoAnswer, match=r"from the node behind it \(596.*may or may not have been carried out"):
        await made._sites["sib-01"].api.post("/nodes/pve-sib-01/lxc/100/status/start")


async def test_a_server_that_keeps_silent_is_asked_once_and_given_up(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await up(provider)
    pve = hosts["sib-01"].pve
    pve.silent = True
    monkeypatch.setattr(site_module, "LOOK_TIMEOUT", 6.0)
    began = time.monotonic()
    survey = await made.survey()
    assert time.monotonic() - began < 2 * 6, "a silent server costs its deadline, once"
    assert survey.changes == () and len(survey.running) == 6
    assert set(survey.away) == {f"{role}-sib-01" for role in ("consul-nomad", "apps", "db")}
    assert all(reason.endswith("did not answer within 6 s") for reason in survey.away.values())
    assert len(await made.running()) == 6
    assert time.monotonic() - began < 60

    monkeypatch.setattr(api_module, "ANSWER_TIMEOUT", 0.5)
    api = provider()._sites["sib-01"].api
    before = pve.asked
    with pytest.raises(NoAnswer, match="was lost"):
        await api.get("/cluster/resources")
    assert pve.asked == before + 1
    pve.silent = False


async def test_a_proxy_that_answers_in_between_is_recognised(provider: Make, hosts: dict[str, FakeHost]) -> None:
    hosts["sib-01"].pve.fail("GET", "/nodes", 200, "<html>Welcome</html>", html=True)
    assert "is there a Proxmox server at this address?" in await failing(provider)


async def test_a_change_whose_answer_is_lost_is_not_repeated(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container exists, but nobody was told: the next run finds it by its tags and makes no second one."""
    pve = hosts["sib-01"].pve
    begin = pve.task

    async def answer_lost(node: str, kind: str, *rest: Any, **options: Any) -> str:
        upid = await begin(node, kind, *rest, **options)
        if kind == "vzcreate" and len(pve.cts) == 1:
            raise asyncio.CancelledError  # the connection is closed without an answer
        return upid

    monkeypatch.setattr(pve, "task", answer_lost)
    text = await failing(provider)
    assert "its answer to POST /nodes/pve-sib-01/lxc was lost" in text
    assert "It may or may not have been carried out: run `tercet up` again" in text
    await finished(provider)
    assert len(pve.cts) == 3


async def test_a_server_that_vanishes_halfway_is_named_and_the_others_are_finished(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "LOST_FOR", 1.0)
    host = hosts["sib-01"]
    host.pve.time_scale = 1.0
    host.pve.ct_secs["create"] = 600
    made = provider()
    plan = (await made.survey()).changes
    work = asyncio.create_task(made.prepare(plan, silent))
    async with asyncio.timeout(60):
        # Its task has a name that the tool knows only once the tool has asked for the task's state.
        while not any("/tasks/" in path and "vzcreate" in path for _, path, *_ in host.pve.requests):
            await asyncio.sleep(0.05)
    host.call(host.vanish())
    with pytest.raises(TercetError) as caught:
        await work
    text = str(caught.value)
    assert "went silent while the task ran, and it may have gone on: UPID:pve-sib-01:" in text
    assert (
        "found no answer" in text and "When the server is back, run `tercet up` again: it looks at what exists" in text
    )
    last = text.splitlines()[-1]
    assert last.startswith("Done: 6 of 9 changes of containers. Not done, or not known to be: create container ")
    assert last.count("-sib-01") == 3 and "sib-03" not in last
    assert len(await made.running()) == 6

    host.pve.hurry = True  # what it had begun went on meanwhile
    host.pve.ct_secs["create"] = 0
    host.pve.time_scale = 0.0
    host.call(host.come_back())
    await finished(provider)
    assert len(host.pve.cts) == 3


async def test_a_server_that_vanishes_during_a_restart_is_named_and_the_next_run_finishes(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "LOST_FOR", 1.0)
    made = await up(provider)
    host, other = hosts["sib-01"], hosts["fsn-01"]
    for each in (host, other):
        each.pve.ct(102).config["features"] = "fuse=1"
    host.pve.time_scale = 1.0
    host.pve.ct(102).shutdown_secs = 50
    plan = (await made.survey()).changes
    assert [change.restarts for change in plan] == ["", "", "db-sib-01", "db-fsn-01"]
    work = asyncio.create_task(made.prepare(plan, silent))
    async with asyncio.timeout(60):
        while not any("/status/reboot" in path for _, path, *_ in host.pve.requests):
            await asyncio.sleep(0.05)
    host.call(host.vanish())
    with pytest.raises(TercetError) as caught:
        await work
    text = str(caught.value)
    assert text.startswith("restart container db-sib-01: restart db-sib-01: ")
    assert "went silent while the task ran, and it may have gone on: UPID:pve-sib-01:" in text
    assert text.splitlines()[-1] == (
        "Done: 2 of 4 changes of containers. Not done, or not known to be: restart container db-sib-01, "
        "restart container db-fsn-01. Run `tercet up` again: it looks at what exists and does the rest"
    )
    host.pve.hurry = True
    host.pve.time_scale = 0.0
    host.call(host.come_back())
    await finished(provider)


async def test_a_server_that_vanishes_before_its_first_change_is_named_and_nothing_was_changed_there(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    made = provider()
    plan = (await made.survey()).changes
    host = hosts["sib-01"]
    host.call(host.vanish())
    with pytest.raises(TercetError) as caught:
        await made.prepare(plan, silent)
    text = str(caught.value)
    assert f"sib-01: expected the Proxmox API at {host.api_way.address}:{host.api_way.port}, found no answer" in text
    assert "Nothing was changed by this request" in text
    assert "Done: 6 of 9 changes" in text
    assert not host.pve.cts
    host.call(host.come_back())
    await finished(provider)


async def test_a_creation_that_still_runs_is_waited_for_and_not_begun_again(
    provider: Make, hosts: dict[str, FakeHost], caplog: pytest.LogCaptureFixture
) -> None:
    """Until the image is unpacked the container has no tags; `up` may have been interrupted in that time."""
    pve = hosts["sib-01"].pve
    pve.time_scale = 1.0
    pve.ct_secs["create"] = 600
    made = provider()
    work = asyncio.create_task(made.prepare((await made.survey()).changes, silent))
    async with asyncio.timeout(60):
        while len(pve.cts) < 3:
            await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert not any("tags" in ct.config for ct in pve.cts)

    again = asyncio.create_task(provider().survey())
    async with asyncio.timeout(60):
        while "still runs; waiting for it: UPID:pve-sib-01:" not in caplog.text:
            await asyncio.sleep(0.05)
    assert not again.done()
    pve.hurry = True
    plan = (await again).changes
    assert not [change.what for change in plan if change.verb == "create" and "sib-01" in change.what]
    pve.time_scale = 0.0
    await finished(provider)
    assert len(pve.cts) == 3


async def test_a_container_that_is_still_being_stopped_is_not_taken_for_running(
    provider: Make, hosts: dict[str, FakeHost], caplog: pytest.LogCaptureFixture
) -> None:
    await up(provider)
    pve = hosts["sib-01"].pve
    pve.time_scale = 1.0
    pve.cts[0].stop_secs = 600
    stopper = provider()
    await stopper.running()
    await stopper._sites["sib-01"].api.post(f"/nodes/pve-sib-01/lxc/{pve.cts[0].vmid}/status/stop")

    look = asyncio.create_task(provider().survey())
    async with asyncio.timeout(60):
        while "still runs; waiting for it: UPID:pve-sib-01:" not in caplog.text:
            await asyncio.sleep(0.05)
    pve.hurry = True
    assert [change.verb for change in (await look).changes] == ["start"]


async def test_a_server_that_is_down_is_an_answer_within_seconds(provider: Make, hosts: dict[str, FakeHost]) -> None:
    made = await up(provider)
    host = hosts["sib-01"]
    host.call(host.vanish())
    began = time.monotonic()
    assert len(await made.running()) == 6
    with pytest.raises(Unreachable, match="found no answer"):
        await made.run("db-sib-01", ("true",), timeout=60)
    assert (await made.run("db-fsn-01", ("true",), timeout=60)).status == 0
    away = (await made.survey()).away
    assert sorted(away) == ["apps-sib-01", "consul-nomad-sib-01", "db-sib-01"]
    assert "expected the Proxmox API at 127.0.0.1:" in away["db-sib-01"] and "found no answer" in away["db-sib-01"]
    assert time.monotonic() - began < 45


async def test_a_server_that_is_down_keeps_nobody_from_working_on_the_others(
    provider: Make, hosts: dict[str, FakeHost]
) -> None:
    """Its containers are neither made elsewhere nor forgotten."""
    await up(provider)
    host, other = hosts["sib-01"], hosts["fsn-01"]
    host.call(host.vanish())
    other.pve.ct(102).status = "stopped"
    before = [ct.vmid for ct in host.pve.cts]
    made = provider()
    survey = await made.survey()
    assert [f"{change.verb} {change.what}" for change in survey.changes] == ["start container db-fsn-01"]
    assert len(survey.running) == 5 and len(survey.away) == 3
    await made.prepare(survey.changes, silent)
    survey = await made.survey()
    assert survey.changes == () and len(survey.running) == 6
    assert [len(each.pve.cts) for each in hosts.values()] == [3, 3, 3]
    host.call(host.come_back())
    await finished(provider)
    assert [ct.vmid for ct in host.pve.cts] == before


async def test_where_no_server_answers_that_is_the_error(provider: Make, hosts: dict[str, FakeHost]) -> None:
    for host in hosts.values():
        host.call(host.vanish())
    with pytest.raises(Unreachable, match="found no answer"):
        await provider().survey()


async def test_a_task_that_does_not_end_is_given_up_with_its_id(hosts: dict[str, FakeHost], provider: Make) -> None:
    host = hosts["sib-01"]
    made = await up(provider)
    host.pve.time_scale = 1.0
    host.pve.cts[0].stop_secs = 600
    api: Api = made._sites["sib-01"].api
    with pytest.raises(TercetError, match=r"still running: UPID:pve-sib-01:.*:vzstop:100:"):
        await api.run("POST", "/nodes/pve-sib-01/lxc/100/status/stop", what="stop it", timeout=1)


async def test_a_locked_container_says_by_what(provider: Make, hosts: dict[str, FakeHost]) -> None:
    await up(provider)
    ct = hosts["sib-01"].pve.cts[0]
    ct.status = "stopped"
    hosts["sib-01"].pve.snapshot_lock(ct.vmid, "backup")
    with pytest.raises(TercetError, match=r"CT is locked \(backup\)"):
        await up(provider)
    hosts["sib-01"].pve.unlock(ct.vmid)
    await finished(provider)


async def test_a_vmid_that_a_stranger_has_is_left_to_it(
    provider: Make, hosts: dict[str, FakeHost], inventory: dict[str, Any]
) -> None:
    inventory["sites"][0]["proxmox"]["vmids"] = {"db": 300}
    stranger = hosts["sib-01"].pve.add_ct(300, "other", node="pve-sib-01")
    assert "expected the VMID 300 of db-sib-01 to be free on pve-sib-01" in await failing(provider)
    assert stranger in hosts["sib-01"].pve.cts
    hosts["sib-01"].pve.cts.remove(stranger)
    await finished(provider)
    assert hosts["sib-01"].pve.ct(300).name == "db-sib-01"


async def test_a_failed_task_is_not_taken_for_another_error() -> None:
    assert issubclass(TaskFailed, TercetError) and not issubclass(TaskFailed, Unreachable)
