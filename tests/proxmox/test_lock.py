"""The lock on the servers while the holder works, is slow, or is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.converge.deferred import Resolver
from tercet.converge.fleet import Unreachable
from tercet.converge.requests import Deferred
from tercet.errors import TercetError
from tercet.inventory.model import TailnetModel
from tercet.providers.proxmox.provider import ProxmoxProvider
from tercet.remote import lock
from tercet.tailnet.control_plane import ControlPlane
from tests.proxmox.fakehost import FakeHost
from tests.proxmox.test_provider import raised

Make = Callable[[], ProxmoxProvider]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is free after five seconds of silence."""
    monkeypatch.setattr(lock, "SCRIPT", lock.SCRIPT.replace(f"-t {lock.SILENCE}", "-t 5"))
    monkeypatch.setattr(lock, "BEAT", 0.5)


@pytest.mark.usefixtures("impatient")
async def test_a_credential_that_takes_its_time_does_not_cost_the_lock(provider: Make) -> None:
    """As with a password manager that asks its user, while the nodes log in to the tailnet."""
    made, other = provider(), provider()
    tailnet = ControlPlane(TailnetModel(auth_key="command:sh -c 'sleep 9; echo tskey'"))
    key = Deferred("the tailnet gives a key", {}, lambda _answers: tailnet.key)
    async with made.lock("anna"):
        assert await Resolver(made, lambda: None, frozenset()).render(key, shared=False) == b"tskey"
        with pytest.raises(TercetError, match="changed by anna"):
            async with other.lock("ben"):
                pass


async def test_a_script_of_a_holder_that_fell_silent_never_meets_the_next_holder(
    provider: Make, monkeypatch: pytest.MonkeyPatch, impatient: None, tmp_path: Path
) -> None:
    """As with a machine that is suspended: the lock goes to another, while the script on the node goes on."""
    node, file = "db-sib-01", tmp_path / "pid"
    made = await raised(provider)
    other = provider()

    async def fall_silent() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(lock, "BEAT", 1000.0)
            async with made.lock("anna"):
                await made.run(node, ("sh", "-c", f"echo $$ > {file}; exec sleep 100"), timeout=120)

    with pytest.raises(TercetError, match="expected to hold the lock"):
        await fall_silent()
    script = Path("/proc", file.read_text().strip(), "cmdline")  # empty once it is dead
    assert "sleep" in script.read_text(), "the lock is free and the script goes on"
    async with other.lock("ben"):
        done = await other.run(node, ("cat", str(script)), timeout=60)
    assert done.stdout == b"", "it ended before the next holder's first program began"


async def test_what_a_former_holder_sent_late_is_refused(provider: Make) -> None:
    made, other = await raised(provider), provider()
    async with made.lock("anna"):
        term = made._nodes.term
    async with other.lock("ben"):
        await other.run("db-sib-01", ("true",), timeout=30)
    made._nodes.term = term
    with pytest.raises(Unreachable, match=r"db-sib-01: refused: another operator holds the platform's lock since"):
        await made.run("db-sib-01", ("true",), timeout=30)
    assert (await made.run("db-sib-03", ("true",), timeout=30)).status == 0, "nobody else was there yet"


async def test_without_the_lock_nothing_is_fenced(provider: Make, hosts: dict[str, FakeHost]) -> None:
    made = await raised(provider)
    async with made.lock("anna"):
        pass
    await made.run("db-sib-01", ("true",), timeout=30)
    assert not list(hosts["sib-01"].folder.glob("fence-*"))


async def test_terms_grow_whatever_the_clock_says_and_whichever_servers_remember(
    provider: Make, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = []

    async def term(now: float) -> None:
        monkeypatch.setattr(lock.time, "time", lambda: now)
        made = provider()
        async with made.lock("anna"):
            terms.append(made._nodes.term)

    await term(1000.0)
    hosts["sib-03"].call(hosts["sib-03"].vanish())
    await term(5.0)
    hosts["sib-03"].call(hosts["sib-03"].come_back())
    hosts["sib-01"].call(hosts["sib-01"].vanish())
    await term(5.0)
    await term(2000.0)
    assert terms == [1000, 1001, 1002, 2000]


async def test_a_server_that_cannot_keep_the_term_is_named(provider: Make, hosts: dict[str, FakeHost]) -> None:
    locks = hosts["sib-03"].folder / "lock"
    locks.mkdir()
    (locks / "terms").write_text("in the way")
    with pytest.raises(TercetError, match=r"expected pve-sib-03 \(sib-03\) to take the platform's lock, found: mkdir"):
        async with provider().lock("anna"):
            pass
