"""The record of the platform's secrets: made once, told apart, and never made from other ones."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tercet.components.context import Context
from tercet.components.identity.fingerprint import FOLDER, RECORD, ROUNDS, Fingerprint, hashed
from tercet.components.registry import components
from tercet.converge.apply import apply
from tercet.converge.events import silent
from tercet.converge.observe import observe
from tercet.converge.order import ancestors, in_order
from tercet.converge.plan import Plan
from tercet.converge.planner import desired, plan
from tercet.converge.requests import Answer, Deferred, Exec
from tercet.converge.resources import Object
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.inventory.secrets import STAND_IN, Secrets, names
from tests.converge.world import Part, World

NONE = Answer(0, "{}\n")
SILENT = Answer(-1, error="no answer")
NODES = ("db-sib-01", "db-sib-03", "db-fsn-01")


@pytest.fixture
def ours(context: Context) -> Context:
    return dataclasses.replace(context, secrets_from="anna@desk:/srv/tercet.secrets.yml")


def of(context: Context, node: str = NODES[0]) -> Object:
    (found,) = Fingerprint(context).desired(context.platform.node(node))
    assert isinstance(found, Object)
    return found


def record(context: Context) -> Answer:
    """What the node answers once the record is made."""
    (change,) = of(context).change
    assert isinstance(change, Exec) and isinstance(change.stdin, Deferred)
    return Answer(0, change.stdin.render({}).decode())


def with_secrets(context: Context, **other: str) -> Context:
    secrets = Secrets({**context.secrets.texts, **other})
    return dataclasses.replace(context, secrets=secrets, secrets_from="ben@lap:/tmp/tercet.secrets.yml")


def permitted(wanted: Object, *answers: Answer) -> str | None:
    assert wanted.permit is not None
    assert [node for node, _ in wanted.needs] == list(NODES)
    return wanted.permit(dict(zip(NODES, answers, strict=True)))


def test_it_is_on_database_nodes_alone_and_comes_before_everything(ours: Context) -> None:
    have = [node.name for node in ours.platform.containers if list(Fingerprint(ours).desired(node))]
    assert have == list(NODES)
    before = ancestors(in_order(components(ours)))
    assert all("fingerprint" in names for name, names in before.items() if name != "fingerprint")


def test_a_record_holds_no_secret_and_says_where_they_are(ours: Context) -> None:
    found: dict[str, Any] = json.loads(record(ours).text)
    assert found["from"] == "anna@desk:/srv/tercet.secrets.yml"
    assert set(found["secrets"]) == set(names())
    assert not [secret for secret in ours.secrets.texts.values() if secret in record(ours).text]
    assert ROUNDS >= 4096


def test_the_same_secret_has_other_hashes_elsewhere() -> None:
    assert len({hashed("a/x", "secret"), hashed("a/y", "secret"), hashed("b/x", "secret"), hashed("a/x", "s")}) == 4


def test_the_same_secrets_need_nothing_whoever_has_them(ours: Context) -> None:
    assert of(ours).differs(NONE) == f"no record of {', '.join(names())} yet"
    assert of(with_secrets(ours)).differs(record(ours)) is None


def test_other_secrets_are_refused_with_what_to_copy_from_where(ours: Context) -> None:
    other = with_secrets(ours, postgres_replication="1", postgres_rewind="2")
    with pytest.raises(TercetError) as caught:
        of(other).differs(record(ours))
    text = str(caught.value)
    assert "found others in ben@lap:/tmp/tercet.secrets.yml: postgres_replication, postgres_rewind." in text
    assert "Copy the platform's own from anna@desk:/srv/tercet.secrets.yml, as db-sib-01 recorded on 20" in text
    with pytest.raises(TercetError, match="found others"):
        permitted(of(other), NONE, record(ours), NONE)


def test_a_secret_that_is_missing_here_is_another_one(ours: Context) -> None:
    with pytest.raises(TercetError, match="proxy_admin"):
        of(with_secrets(ours, proxy_admin=STAND_IN)).differs(record(ours))


def test_a_secret_that_a_later_version_adds_is_recorded(ours: Context) -> None:
    older = json.loads(record(ours).text)
    del older["secrets"]["proxy_admin"]
    assert of(ours).differs(Answer(0, json.dumps(older))) == "no record of proxy_admin yet"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"secrets": 5}'])
def test_a_broken_record_is_no_licence(ours: Context, text: str) -> None:
    with pytest.raises(TercetError, match="expected the fingerprint of the secrets in /var/lib/tercet"):
        of(ours).differs(Answer(0, text))


def test_a_first_record_needs_the_word_of_every_database_node(ours: Context) -> None:
    assert permitted(of(ours), NONE, NONE, NONE) is None
    assert "db-fsn-01 did not say" in str(permitted(of(ours), NONE, NONE, SILENT))
    assert permitted(of(ours), NONE, record(ours), SILENT) is None, "a node that was made anew while a site is down"
    assert "db-sib-01 did not say" in str(permitted(of(ours), SILENT, record(ours), record(ours)))
    assert of(ours).differs(SILENT) == "unknown (no answer)"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The database nodes, on which the real scripts run, each with a folder of its own."""
    made = World(tmp_path, NODES)

    def shell(node: str, argv: Sequence[str], stdin: bytes) -> tuple[int, str]:
        words = [word.replace(FOLDER, made.machines[node].path(FOLDER)) for word in argv]
        done = subprocess.run(words, input=b64decode(stdin), capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout.decode() or done.stderr.decode()

    made.handlers["sh"] = shell
    return made


def parts(context: Context, world: World) -> tuple[Fingerprint, Part]:
    """The component, and one after it that brings a secret to each node."""
    bring = Exec(("set", "secret", "in the clear"))
    secret = Object("secret", Exec(("get", "secret")), lambda answer: None if answer.ok else "absent", (bring,))
    return Fingerprint(context), Part("patroni", dict.fromkeys(world.machines, (secret,)), after=("fingerprint",))


async def planned(context: Context, world: World) -> Plan:
    nodes = context.platform.of(Role.DB)
    wanted = desired(parts(context, world), nodes)
    return plan(parts(context, world), nodes, await observe(world, wanted, world.running, timeout=60), ())


async def applied(todo: Plan, context: Context, world: World) -> None:
    await apply(todo, parts(context, world), context.platform.of(Role.DB), world, silent)


def records(world: World) -> list[dict[str, Any]]:
    files = [Path(machine.path(RECORD)) for machine in world.machines.values()]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    return [json.loads(file.read_text()) for file in files]


async def test_every_database_node_has_the_record_and_then_nothing_is_to_do(ours: Context, world: World) -> None:
    await applied(await planned(ours, world), ours, world)
    assert [each["from"] for each in records(world)] == [ours.secrets_from] * 3
    assert (await planned(with_secrets(ours), world)).empty
    with pytest.raises(TercetError, match=r"found others in ben@lap:/tmp/tercet\.secrets\.yml: proxy_admin"):
        await planned(with_secrets(ours, proxy_admin="other"), world)


async def test_a_node_that_was_made_anew_gets_the_record_from_who_has_the_same_secrets(
    ours: Context, world: World
) -> None:
    await applied(await planned(ours, world), ours, world)
    Path(world.machines["db-sib-03"].path(RECORD)).unlink()
    world.machines["db-fsn-01"].reachable = False
    same = with_secrets(ours)
    await applied(await planned(same, world), same, world)
    assert [each["from"][:4] for each in records(world)] == ["anna", "ben@", "anna"]


async def test_a_plan_from_before_the_record_brings_no_other_secrets(ours: Context, world: World) -> None:
    """As where the nodes that have the record did not run when the plan was made."""
    other = with_secrets(ours, postgres_rewind="other")
    todo = await planned(other, world)
    await applied(await planned(ours, world), ours, world)
    Path(world.machines["db-sib-03"].path(RECORD)).unlink()
    for machine in world.machines.values():
        machine.objects.clear()
    with pytest.raises(TercetError, match=r"found others in ben@lap:/tmp/tercet\.secrets\.yml: postgres_rewind"):
        await applied(todo, other, world)
    assert not any(machine.objects for machine in world.machines.values()), "no secret came to any node"
    assert not Path(world.machines["db-sib-03"].path(RECORD)).exists()


def announcing(context: Context, **new: str) -> Answer:
    """What a node answers once new secrets are announced there."""
    change = Fingerprint(context).announcing(new)
    assert isinstance(change.stdin, bytes)
    return Answer(0, change.stdin.decode())


def test_while_a_secret_is_announced_the_old_and_the_new_one_are_accepted(ours: Context) -> None:
    record = announcing(ours, postgres_rewind="new")
    assert "new" not in record.text.replace("next", "")
    fresh = with_secrets(ours, postgres_rewind="new")
    for context, begun in ((ours, ()), (fresh, ("postgres_rewind",))):
        assert of(context).differs(record) == "the change of postgres_rewind is not complete"
        assert Fingerprint(context).announced("db-sib-01", record) == begun
    with pytest.raises(TercetError, match=r"found others in ben@lap:\S+: postgres_rewind\."):
        of(with_secrets(ours, postgres_rewind="a third one")).differs(record)


def test_the_first_apply_makes_one_of_them_the_only_one(ours: Context) -> None:
    fresh = with_secrets(ours, postgres_rewind="new")
    assert of(fresh).differs(record(fresh)) is None
    with pytest.raises(TercetError, match="found others"):
        of(ours).differs(record(fresh))
