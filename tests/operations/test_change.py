"""Opening a platform changes nothing, and what is lost is not silently made anew."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pyrage import x25519

from tercet.components.patroni.declaration import API_PASSWORD
from tercet.converge.events import Emit, Event, silent
from tercet.converge.fleet import Completed, Fleet, Unreachable
from tercet.converge.plan import Change, Plan
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.image.build import Image
from tercet.inventory.sealing import ARMOR, own_recipient
from tercet.inventory.secrets import STAND_IN, claim, load_or_create, owner
from tercet.operations import apply, change
from tercet.operations.change import execute, make_plan, refuse_destruction, with_image, with_own_secrets
from tercet.providers.base import Survey
from tercet.providers.proxmox.guests import ProxmoxKind
from tercet.session import session
from tercet.session.files import secrets_file
from tercet.session.session import Session, open_session


class Nothing:
    """A provider of containers that do not run; `made` exist."""

    def __init__(self) -> None:
        self.made: tuple[Change, ...] = ()

    async def survey(self) -> Survey:
        return Survey((Change(Verb.CREATE, Target(Kind.CONTAINER, "db-sib-01"), "absent"),))

    async def destroy_plan(self) -> tuple[Change, ...]:
        return self.made

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        yield

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        raise Unreachable(f"{node} does not run")

    async def close(self) -> None:
        """It has no connection."""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, inventory_file: Path, tmp_path: Path) -> Nothing:
    """The provider of every session in this test, whose cache is empty."""
    inventory_file.write_text(f"{inventory_file.read_text()}\ncache: {tmp_path / 'cache'}\n")
    provider = Nothing()
    monkeypatch.setattr(session, "open_provider", lambda *_: provider)
    return provider


@pytest.mark.usefixtures("provider")
async def test_opening_writes_nothing(inventory_file: Path) -> None:
    async with open_session(inventory_file) as opened:
        assert opened.context.secrets.password(API_PASSWORD) == STAND_IN
    assert [entry.name for entry in inventory_file.parent.iterdir()] == [inventory_file.name]


async def test_a_platform_that_is_nowhere_yet_can_be_planned(inventory_file: Path, provider: Nothing) -> None:
    async with open_session(inventory_file) as opened:
        plan = await make_plan(opened)
    build, create = plan.infrastructure
    assert create.what == "container db-sib-01"
    assert build.what == "image" and "the proxy is undecided until then: PgCat if it is available" in build.reason
    assert plan.steps
    assert not secrets_file(inventory_file).exists()


async def test_a_proxy_that_the_inventory_names_is_decided(inventory_file: Path, provider: Nothing) -> None:
    inventory_file.write_text(f"{inventory_file.read_text()}\nproxy: pgcat\n")
    async with open_session(inventory_file) as opened:
        assert (opened.context.proxy, opened.context.proxy_reason) == ("pgcat", "PgCat, as the inventory says")
        assert (await make_plan(opened)).infrastructure[0].reason == "not in the cache"


async def test_lost_secrets_of_a_platform_that_exists_are_refused(inventory_file: Path, provider: Nothing) -> None:
    provider.made = (
        Change(Verb.DESTROY, Target(ProxmoxKind.SITE, "fsn-01", text="containers of fsn-01"), "unknown now"),
        Change(Verb.DESTROY, Target(Kind.CONTAINER, "db-sib-01"), "with its DATABASE"),
    )
    message = (
        r"expected the secrets of platform tercet in .*secrets\.yml, found none .*\(container db-sib-01\): restore"
    )
    async with open_session(inventory_file) as opened:
        with pytest.raises(TercetError, match=message):
            await make_plan(opened)
        with pytest.raises(TercetError, match=message):
            await with_image(opened, silent)
        with pytest.raises(TercetError, match=message):
            await with_own_secrets(opened, silent)
    assert not secrets_file(inventory_file).exists()


async def test_secrets_that_are_there_are_used(inventory_file: Path, provider: Nothing) -> None:
    made = load_or_create(secrets_file(inventory_file))
    provider.made = (Change(Verb.DESTROY, Target(Kind.CONTAINER, "db-sib-01"), "with its DATABASE"),)
    async with open_session(inventory_file) as opened:
        assert opened.context.secrets == made
        assert not (await make_plan(opened)).empty


async def test_a_platform_that_exists_is_not_renamed(inventory_file: Path, provider: Nothing) -> None:
    """Its containers would run on under the old name, and nothing would show them."""
    load_or_create(secrets_file(inventory_file))
    claim(secrets_file(inventory_file), "tercet")
    inventory_file.write_text(re.sub("^platform: tercet", "platform: other", inventory_file.read_text(), flags=re.M))
    provider.made = (Change(Verb.DESTROY, Target(Kind.CONTAINER, "db-sib-01"), "with its DATABASE"),)
    message = r"expected `platform: tercet` in .*, found other: the platform tercet exists \(container db-sib-01\)"
    async with open_session(inventory_file) as opened:
        with pytest.raises(TercetError, match=message):
            await make_plan(opened)
        with pytest.raises(TercetError, match=message):
            await with_image(opened, silent)
        assert owner(secrets_file(inventory_file)) == "tercet"
        provider.made = ()
        assert not (await make_plan(opened)).empty, "what is gone may have another name"


def test_a_database_is_destroyed_only_where_its_node_is_named() -> None:
    lost = tuple(Change(Verb.REMOVE, Target(Kind.CONTAINER, n), "no such node") for n in ("db-a", "db-b"))
    plan = Plan((Change(Verb.REMOVE, Target(Kind.CONTAINER, "apps-a"), "no such node"), *lost))
    with pytest.raises(TercetError, match=r"found without: db-a, db-b\. Nothing was .*`--destroy db-a --destroy db-b`"):
        refuse_destruction(plan, ())
    with pytest.raises(TercetError, match=r"found without: db-b\. .*`--destroy db-b`"):
        refuse_destruction(plan, ["db-a", "apps-a"])
    refuse_destruction(plan, ["db-a", "db-b"])


@pytest.mark.parametrize(
    ("setting", "encrypted", "said"),
    [
        ("", True, ["is encrypted for your public key"]),
        ("secrets: {recipients: [OWN, OTHER]}", True, ["is encrypted for 2 public keys"]),
        ("secrets: {encrypt: false}", False, []),
    ],
)
async def test_the_secrets_are_encrypted_as_the_inventory_says(
    inventory_file: Path, provider: Nothing, setting: str, encrypted: bool, said: list[str]
) -> None:
    """Also if they were there before. Only a change is reported."""
    other = str(x25519.Identity.generate().to_public())
    setting = setting.replace("OWN", own_recipient()).replace("OTHER", other)
    inventory_file.write_text(f"{inventory_file.read_text()}\n{setting}\n")
    made = load_or_create(secrets_file(inventory_file))
    events: list[Event] = []
    async with open_session(inventory_file) as opened:
        for _ in range(2):
            assert (await with_own_secrets(opened, events.append)).context.secrets == made
    assert secrets_file(inventory_file).read_bytes().startswith(ARMOR) is encrypted
    assert [event.text.partition(" ")[2] for event in events] == said


async def test_of_two_operators_at_once_one_makes_the_secrets(
    inventory_file: Path, provider: Nothing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on a machine of their own, and both before the platform exists."""
    other_file = tmp_path / "other" / inventory_file.name
    other_file.parent.mkdir()
    other_file.write_text(inventory_file.read_text())

    async def ensured(*_: object) -> Image:
        assert not list(tmp_path.rglob("*.secrets.yml")), "no secrets before the lock is held"
        return Image("made", tmp_path, (), "pgpool", "")

    async def raised(_session: Session, *_: object) -> Plan:
        provider.made = (Change(Verb.CREATE, Target(Kind.CONTAINER, "db-sib-01"), "absent"),)
        return Plan(())

    monkeypatch.setattr(change, "ensure_image", ensured)
    monkeypatch.setattr(apply, "plan_and_execute", raised)
    async with open_session(inventory_file) as one, open_session(other_file) as other:
        await apply.apply(one, silent, lambda _plan: None)
        assert secrets_file(inventory_file).exists()
        with pytest.raises(TercetError, match="restore the file from your backup"):
            await apply.apply(other, silent, lambda _plan: None)
    assert not secrets_file(other_file).exists()


async def test_containers_that_serve_are_restarted_after_everything_else() -> None:
    prepared: list[str] = []

    async def prepare(changes: Sequence[Change], _emit: Emit) -> None:
        prepared.append(", ".join(change.target.name for change in changes))

    opened = SimpleNamespace(
        components=(), platform=SimpleNamespace(containers=(), nodes=()), provider=SimpleNamespace(prepare=prepare)
    )
    a, b, *serving = (Target(Kind.CONTAINER, name) for name in "abcd")
    first = (Change(Verb.CREATE, a, "absent"), Change(Verb.START, b, "stopped"))
    last = tuple(Change(Verb.RESTART, target, "a setting", restarts=target.name) for target in serving)
    await execute(cast(Session, opened), Plan(first, restarts=last), cast(Fleet, None), silent)
    assert prepared == ["a, b", "c", "d"]
