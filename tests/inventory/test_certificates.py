"""Certificates that are derived from an authority, proven by handshakes of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tercet.inventory.certificates import derived, make_authority
from tercet.inventory.generated import Pair

NAMES = ("server.dc1.consul", "server.dcs.consul", "consul-nomad-sib-01.consul", "127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_authority("tercet Consul", "consul")


def written(folder: Path, name: str, pair: Pair) -> Path:
    path = folder / f"{name}.pem"
    path.write_text(pair.key + pair.certificate)
    return path


def handshake(folder: Path, server: Pair, client: Pair, authority: Pair, name: str) -> None:
    """Raises ssl.SSLError if one side refuses the other."""
    sides = []
    for purpose, mine in ((ssl.Purpose.CLIENT_AUTH, server), (ssl.Purpose.SERVER_AUTH, client)):
        context = ssl.create_default_context(purpose, cadata=authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on, which nodes have
        context.load_cert_chain(written(folder, purpose.name, mine))
        sides.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    both = [
        sides[0].wrap_bio(to_server, to_client, server_side=True),
        sides[1].wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(6):
        for side in both:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert both[0].getpeercert() and both[1].getpeercert()


def test_a_server_is_known_by_its_names(tmp_path: Path, authority: Pair) -> None:
    server, client = derived(NAMES, authority), derived(("db-sib-01.consul",), authority)
    for name in NAMES:
        handshake(tmp_path, server, client, authority, name)


@pytest.mark.parametrize("name", ["server.dc2.consul", "server.dcs.consul"])
def test_a_client_is_no_server(tmp_path: Path, authority: Pair, name: str) -> None:
    client = derived(("apps-sib-01.consul",), authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, client, client, authority, name)


def test_an_authority_signs_for_no_other_name(tmp_path: Path, authority: Pair) -> None:
    outside = derived(("postgresql.example",), authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(tmp_path, outside, outside, authority, "postgresql.example")


def test_an_authority_without_a_name_signs_for_every_node(tmp_path: Path) -> None:
    authority = make_authority("tercet PostgreSQL", "")
    server, client = derived(("db-sib-01",), authority), derived(("db-fsn-01",), authority)
    handshake(tmp_path, server, client, authority, "db-sib-01")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, client, server, authority, "db-sib-01")


def test_another_authority_is_not_trusted(tmp_path: Path, authority: Pair) -> None:
    other = make_authority("tercet Consul", "consul")
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, derived(NAMES, other), derived(NAMES, authority), authority, NAMES[0])
    assert derived(NAMES, other).key != derived(NAMES, authority).key


def test_the_same_names_have_the_same_certificate(authority: Pair) -> None:
    assert derived(NAMES, authority) == derived(NAMES, authority)
    assert derived(NAMES[:1], authority).key != derived(NAMES, authority).key


@pytest.mark.parametrize("text", ["", "<consul_ca_key>", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_authority_is_refused(authority: Pair, text: str) -> None:
    with pytest.raises(ValueError):
        derived(NAMES, Pair(authority.certificate, text))
