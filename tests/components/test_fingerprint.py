"""The record of the platform's secrets: made once, told apart, and never made from other ones."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tercet.components import Context, components
from tercet.components.fingerprint import ROUNDS, Fingerprint, hashed
from tercet.converge.order import ancestors
from tercet.converge.requests import Answer, Exec, Late
from tercet.converge.resources import Object
from tercet.errors import TercetError
from tercet.inventory.secrets import NAMES, STAND_IN

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
    assert isinstance(change, Exec) and isinstance(change.stdin, Late)
    return Answer(0, change.stdin.render({}).decode())


def with_secrets(context: Context, **other: str) -> Context:
    secrets = dataclasses.replace(context.secrets, **other)
    return dataclasses.replace(context, secrets=secrets, secrets_from="ben@lap:/tmp/tercet.secrets.yml")


def permitted(wanted: Object, *answers: Answer) -> str | None:
    assert wanted.permit is not None
    assert [node for node, _ in wanted.needs] == list(NODES)
    return wanted.permit(dict(zip(NODES, answers, strict=True)))


def test_it_is_on_database_nodes_alone_and_comes_before_everything(ours: Context) -> None:
    have = [node.name for node in ours.platform.containers if list(Fingerprint(ours).desired(node))]
    assert have == list(NODES)
    before = ancestors(components(ours))
    assert all("fingerprint" in names for name, names in before.items() if name != "fingerprint")


def test_a_record_holds_no_secret_and_says_where_they_are(ours: Context) -> None:
    found: dict[str, Any] = json.loads(record(ours).text)
    assert found["from"] == "anna@desk:/srv/tercet.secrets.yml"
    assert set(found["secrets"]) == set(NAMES)
    assert not [secret for secret in dataclasses.asdict(ours.secrets).values() if secret in record(ours).text]
    assert ROUNDS >= 4096


def test_the_same_secret_has_other_hashes_elsewhere() -> None:
    assert len({hashed("a/x", "secret"), hashed("a/y", "secret"), hashed("b/x", "secret"), hashed("a/x", "s")}) == 4


def test_the_same_secrets_need_nothing_whoever_has_them(ours: Context) -> None:
    assert of(ours).differs(NONE) == f"no record of {', '.join(NAMES)} yet"
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
