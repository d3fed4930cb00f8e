"""An authority is replaced in rounds, and in each of them every node trusts the certificates of all others."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tercet.components.consul.declaration import AUTHORITY as CONSUL
from tercet.components.nomad.declaration import AUTHORITY as NOMAD
from tercet.inventory.authorities import BEGUN, SIGNING, advance, begin, following, replaced
from tercet.inventory.certificates import derived, signed_by
from tercet.inventory.generated import Pair
from tercet.inventory.secrets import Secrets, load, load_or_create

NODE = "server.dcs.consul"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "tercet.secrets.yml"
    load_or_create(file)
    return file


def now(path: Path) -> Secrets:
    found = load(path)
    assert found is not None
    return found


def trusts(one: Secrets, other: Secrets) -> bool:
    """Whether a node with these secrets trusts a node with the other ones."""
    shown = derived([NODE], other.pair(CONSUL))
    authorities = x509.load_pem_x509_certificates(one.trusted(CONSUL).encode())
    return any(signed_by(shown, Pair(each.public_bytes(Encoding.PEM).decode(), "")) for each in authorities)


def test_neighbouring_rounds_trust_each_other_and_the_last_one_not_the_first(path: Path) -> None:
    rounds = [now(path)]
    begin(path, ["consul_ca"])
    rounds.append(now(path))
    while replaced(now(path)):
        advance(path)
        rounds.append(now(path))
    assert [replaced(each) for each in rounds] == [{}, {"consul_ca": BEGUN}, {"consul_ca": SIGNING}, {}]
    for one, next_one in pairwise(rounds):
        assert trusts(one, next_one) and trusts(next_one, one)
    assert not trusts(rounds[0], rounds[3]) and not trusts(rounds[3], rounds[0])
    assert rounds[0].texts.keys() == rounds[3].texts.keys(), "nothing is left"
    assert rounds[0].pair(NOMAD) == rounds[3].pair(NOMAD), "the other one was not chosen"


def test_what_is_announced_is_what_the_next_round_has(path: Path) -> None:
    begin(path, ["consul_ca", "nomad_ca"])
    announced = following(now(path))
    assert announced.keys() == {*CONSUL.keys, *NOMAD.keys}
    advance(path)
    assert {name: now(path).texts[name] for name in announced} == announced
    assert following(now(path)) == {}


def test_begun_again_it_stays_as_it_is(path: Path) -> None:
    begin(path, ["consul_ca"])
    before = now(path)
    begin(path, ["consul_ca"])
    assert now(path) == before
