"""`secrets rotate`: what it refuses, in which order it works, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tercet.components.identity.fingerprint import READ
from tercet.converge.component import Readings
from tercet.converge.events import silent
from tercet.converge.plan import Change, Plan
from tercet.converge.requests import Answer, Exec
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.inventory.authorities import BEGUN, SIGNING, replaced
from tercet.inventory.secrets import load, load_or_create
from tercet.operations import rotate as module
from tercet.operations.rotate import chosen, rotatable, rotate
from tercet.session.files import secrets_file
from tercet.session.session import Session, open_session

DATABASES = ("db-sib-01", "db-sib-03", "db-fsn-01")
NAME = "postgres_replication"
LOGINS = ("postgres_application", "postgres_application_2")
DATABASE_USERS = ("postgres_superuser", "postgres_replication", "postgres_rewind", "postgres_monitoring")


class KilledError(Exception):
    """The tool is killed."""


class Records:
    """The database nodes' records, and the nodes whose programs have `learnt` new secrets. `killed_at`: "announce" or
    "apply" for a run that is broken off before it. `refuses`: a node whose programs do not take them. `rounds`: how far
    the authority of Consul was in each round; a node is silent in the one with the number `away_in`.
    """

    def __init__(self) -> None:
        self.of = dict.fromkeys(DATABASES, "{}\n")
        self.silent: set[str] = set()
        self.learnt: list[str] = []
        self.refuses = ""
        self.rounds: list[str] = []
        self.away_in = 0
        self.killed_at = ""
        self.plan = Plan()
        self.applied: list[str] = []
        self.logins: list[tuple[str, ...]] = []

    async def ask(self, _provider: Any, asked: Mapping[str, Any], *, timeout: float) -> Readings:
        assert timeout > 0
        if not set(asked) & set(DATABASES):
            assert all("next" in text for text in self.of.values()), "announced before"
            self.learnt += asked
            return Readings({node: {"it": Answer(int(node == self.refuses), "", "no")} for node in asked})
        assert set(asked) == set(DATABASES)
        answers = {}
        for node, questions in asked.items():
            request = questions["it"]
            if node in self.silent:
                answers[node] = {"it": Answer(-1, error="no answer")}
            elif request == READ:
                answers[node] = {"it": Answer(0, self.of[node])}
            else:
                if self.killed_at == "announce" and node == DATABASES[1]:
                    raise KilledError
                assert isinstance(request, Exec) and isinstance(request.stdin, bytes)
                self.of[node] = request.stdin.decode()
                answers[node] = {"it": Answer(0, "")}
        return Readings(answers)

    async def plan_and_execute(self, session: Session, *_rest: Any) -> Plan:
        if self.killed_at == "apply":
            raise KilledError
        secrets = session.context.secrets
        self.applied.append(secrets.texts[NAME])
        self.logins.append(tuple(secrets.texts[name] for name in LOGINS))
        self.rounds.append(replaced(secrets).get("consul_ca", ""))
        self.of = dict.fromkeys(DATABASES, "{}\n")
        if len(self.rounds) == self.away_in:
            return Plan(unreachable=(("apps-sib-01", "silent"),))
        return Plan()

    async def make_plan(self, _session: Session) -> Plan:
        return self.plan


@asynccontextmanager
async def nothing(*_arguments: Any) -> Any:
    yield None


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, inventory_file: Path) -> Records:
    load_or_create(secrets_file(inventory_file))
    found = Records()

    async def same(session: Session, _emit: Any) -> Session:
        return session.with_secrets(load_or_create(secrets_file(inventory_file)))

    for name in ("ask", "plan_and_execute", "make_plan"):
        monkeypatch.setattr(module, name, getattr(found, name))
    monkeypatch.setattr(module, "with_image", same)
    monkeypatch.setattr(module, "with_own_secrets", same)
    monkeypatch.setattr(module, "PersistentAgents", nothing)
    return found


def secret(file: Path) -> str:
    found = load(secrets_file(file))
    assert found is not None
    return found.texts[NAME]


async def run(file: Path, *names: str) -> tuple[str, ...]:
    async with open_session(file) as session:
        session.provider.lock = nothing  # type: ignore[method-assign]
        return await rotate(session, names or (NAME,), silent, lambda _plan: None)


async def test_the_new_password_is_announced_then_written_then_applied(records: Records, inventory_file: Path) -> None:
    old = secret(inventory_file)
    assert await run(inventory_file) == (NAME,)
    assert secret(inventory_file) != old
    assert records.applied == [secret(inventory_file)]


async def test_broken_off_while_it_announces_nothing_has_changed(records: Records, inventory_file: Path) -> None:
    old, records.killed_at = secret(inventory_file), "announce"
    with pytest.raises(KilledError):
        await run(inventory_file)
    assert secret(inventory_file) == old and not records.applied
    assert [NAME in json.loads(text).get("next", {}) for text in records.of.values()] == [True, False, False]
    records.killed_at = ""
    await run(inventory_file)
    assert records.applied == [secret(inventory_file)] != [old]


async def test_broken_off_after_that_the_same_password_is_brought_into_force(
    records: Records, inventory_file: Path
) -> None:
    records.killed_at = "apply"
    with pytest.raises(KilledError):
        await run(inventory_file)
    new, records.killed_at = secret(inventory_file), ""
    assert await run(inventory_file, "patroni_api") == (NAME,), "what was begun comes first"
    assert records.applied == [new] == [secret(inventory_file)]


async def test_programs_learn_new_tokens_before_these_are_written(records: Records, inventory_file: Path) -> None:
    before = load(secrets_file(inventory_file))
    records.refuses = "consul-nomad-fsn-01"
    with pytest.raises(TercetError, match=r"accept new consul_tokens, found consul-nomad-fsn-01: .* No secret"):
        await run(inventory_file, "consul_tokens")
    assert load(secrets_file(inventory_file)) == before and not records.applied
    records.refuses, records.learnt = "", []
    assert await run(inventory_file, "consul_tokens", "nomad_tokens") == ("consul_tokens", "nomad_tokens")
    controls = ["consul-nomad-sib-01", "consul-nomad-sib-03", "consul-nomad-fsn-01"]
    # Notes for Consul; each of its datacenters, then `dcs`; notes for Nomad; its servers.
    assert records.learnt == [*controls, *controls, controls[0], *controls, *controls]


async def test_one_of_the_applications_logins_works_at_any_time(records: Records, inventory_file: Path) -> None:
    before = load(secrets_file(inventory_file))
    assert before
    names = (LOGINS[1], NAME, LOGINS[0])
    assert set(await run(inventory_file, *names)) == set(names)
    at_first = tuple(before.texts[name] for name in LOGINS)
    assert [[new != old for new, old in zip(found, at_first, strict=True)] for found in records.logins] == [
        [True, False],
        [True, True],
    ]


async def test_broken_off_between_the_applications_logins_it_goes_on_with_the_second(
    records: Records, inventory_file: Path
) -> None:
    records.killed_at = "apply"
    with pytest.raises(KilledError):
        await run(inventory_file, *LOGINS)
    records.killed_at = ""
    assert await run(inventory_file, *LOGINS) == LOGINS
    (first, _), (same, _) = records.logins
    assert first == same and len({second for _, second in records.logins}) == 2


async def test_an_authority_takes_three_rounds_and_each_is_announced(records: Records, inventory_file: Path) -> None:
    before = load(secrets_file(inventory_file))
    assert await run(inventory_file, "consul_ca", NAME) == ("consul_ca", NAME)
    assert records.rounds == [BEGUN, SIGNING, ""]
    after = load(secrets_file(inventory_file))
    assert before and after and before.texts["consul_ca_cert"] != after.texts["consul_ca_cert"]


@pytest.mark.parametrize(("away_in", "rounds"), [(1, [BEGUN, SIGNING, ""]), (2, [SIGNING, ""]), (3, None)])
async def test_a_node_that_falls_silent_holds_up_the_next_round(
    records: Records, inventory_file: Path, away_in: int, rounds: list[str] | None
) -> None:
    records.away_in = away_in
    with pytest.raises(TercetError, match="found apps-sib-01 silent"):
        await run(inventory_file, "consul_ca")
    if rounds is None:  # all is written, and `apply` does what is left
        return
    records.rounds, records.away_in = [], 0
    assert await run(inventory_file, "consul_ca") == ("consul_ca",)
    assert records.rounds == rounds, "it continues where it was"


@pytest.mark.parametrize(
    ("silent_node", "plan", "text"),
    [
        ("db-fsn-01", Plan(), "found db-fsn-01: no answer. Nothing was changed"),
        ("", Plan((Change(Verb.CREATE, Target(Kind.CONTAINER, "x"), "absent"),)), "run `tercet apply` first"),
        ("", Plan(unreachable=(("apps-sib-01", "silent"),)), "found apps-sib-01 silent"),
    ],
)
async def test_a_platform_that_is_not_settled_is_left_alone(
    records: Records, inventory_file: Path, silent_node: str, plan: Plan, text: str
) -> None:
    old, records.plan, records.silent = secret(inventory_file), plan, {silent_node}
    with pytest.raises(TercetError, match=text):
        await run(inventory_file)
    assert secret(inventory_file) == old and set(records.of.values()) == {"{}\n"}


async def test_while_a_site_is_lost_nothing_is_replaced(records: Records, inventory_file: Path) -> None:
    """It would return with keys for gossip and tokens that nobody accepts any more."""
    with inventory_file.open("a", encoding="utf-8") as file:
        file.write("\nlost_sites: [sib-03]\n")
    old = secret(inventory_file)
    with pytest.raises(TercetError, match="found sib-03 lost: take it back with `tercet recover rejoin` first"):
        await run(inventory_file)
    assert secret(inventory_file) == old and not records.applied


def test_only_what_can_be_changed_on_a_running_platform_is() -> None:
    assert chosen(rotatable()) == rotatable()
    assert chosen(["nomad_ca_cert", "nomad_ca_key", "patroni_api"]) == ("nomad_ca", "patroni_api")
    assert {*DATABASE_USERS, *LOGINS, "patroni_api"} <= set(rotatable())
    assert {"consul_tokens", "consul_gossip", "consul_ca", "nomad_tokens", "nomad_gossip", "nomad_ca"} <= {*rotatable()}
    for name in ("lab_ca", "lab_ca_key"):
        assert name not in rotatable()
    with pytest.raises(TercetError, match="lab_ca_key cannot be changed on a running platform yet"):
        chosen(["patroni_api", "lab_ca_key"])
    with pytest.raises(TercetError, match="there is no secret foo"):
        chosen(["foo"])
