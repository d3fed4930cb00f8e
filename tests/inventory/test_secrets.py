"""Secrets: made once, whole or not at all, for their owner's eyes, and in no message."""

from __future__ import annotations

import contextlib
import fcntl
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tercet.components.headscale.declaration import AUTHORITY, CERTIFICATE
from tercet.errors import TercetError
from tercet.inventory.certificates import LIFETIME, Pair, make_authority, make_server, signed_by
from tercet.inventory.secrets import PUNCTUATION, Secrets, claim, load, load_or_create, names, owner, peek

HOST = "headscale.lab"
KEYS = [
    "consul_gossip",
    "consul_tokens",
    "nomad_gossip",
    "nomad_tokens",
    "postgres_superuser",
    "postgres_replication",
    "postgres_rewind",
    "postgres_monitoring",
    "postgres_application",
    "postgres_application_2",
    "patroni_api",
    "proxy_admin",
    "lab_ca_cert",
    "lab_ca_key",
    "lab_headscale_cert",
    "lab_headscale_key",
    "consul_ca_cert",
    "consul_ca_key",
    "nomad_ca_cert",
    "nomad_ca_key",
    "postgres_ca_cert",
    "postgres_ca_key",
]
"""They stay: a running platform has only the secrets of these names."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tercet.secrets.yml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The content of a complete file."""
    path = tmp_path_factory.mktemp("secrets") / "tercet.secrets.yml"
    load_or_create(path)
    content: dict[str, str] = yaml.safe_load(path.read_text())
    return content


def write(path: Path, content: dict[str, str] | str) -> None:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    path.chmod(0o600)


def test_they_are_claimed_by_a_platform_and_stay_as_they_are(path: Path) -> None:
    first = load_or_create(path)
    assert owner(path) == ""
    claim(path, "one")
    claim(path, "two")
    assert owner(path) == "two" and load(path) == load_or_create(path) == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_file_has_the_keys_that_it_always_had(made: dict[str, str]) -> None:
    assert list(made) == list(names()) == KEYS


def test_secrets_are_made_once(path: Path) -> None:
    assert load(path) is None
    first = load_or_create(path)
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create(path) == first == load(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_passwords_are_strong_and_all_different(path: Path) -> None:
    made = load_or_create(path)
    passwords = [made.texts[name] for name in KEYS if not name.endswith(("_cert", "_key"))]
    assert len(set(passwords)) == len(passwords) == 12
    assert all(len(password) >= 40 and password.isalnum() for password in passwords)


def test_no_secret_shows_in_a_repr(path: Path) -> None:
    made = load_or_create(path)
    shown = f"{made!r} {made} {Pair('certificate', 'the key')!r}"
    assert not [name for name in KEYS if made.texts[name] in shown]
    assert "the key" not in shown


def test_what_is_missing_is_added_and_the_rest_is_kept(path: Path, made: dict[str, str]) -> None:
    less = {name: value for name, value in made.items() if name not in ("proxy_admin", "patroni_api")}
    write(path, less | {"of_a_later_version": "kept"})
    assert load(path) is None
    completed = load_or_create(path)
    after = yaml.safe_load(path.read_text())
    assert {name: after[name] for name in less} == less
    assert after["of_a_later_version"] == "kept"
    assert completed.texts["proxy_admin"] != made["proxy_admin"]
    assert set(after) == set(KEYS) | {"of_a_later_version"}


def test_a_missing_server_certificate_is_signed_by_the_known_authority(path: Path, made: dict[str, str]) -> None:
    write(path, {name: value for name, value in made.items() if not name.startswith("lab_headscale")})
    new = load_or_create(path)
    assert new.texts["lab_ca_cert"] == made["lab_ca_cert"]
    assert new.texts["lab_headscale_cert"] != made["lab_headscale_cert"]
    assert signed_by(new.pair(CERTIFICATE), new.pair(AUTHORITY))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_can_reach_is_refused_with_the_remedy(path: Path, made: dict[str, str], mode: int) -> None:
    write(path, made)
    path.chmod(mode)
    for read in (load, load_or_create):
        with pytest.raises(TercetError, match=f"mode {mode:04o}: run `chmod 600 {path}`"):
            read(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("- a\n", "no mapping"),
        ("hunter2", "no mapping"),
        ("a: b\nproxy_admin: 'hunter2\n", "no valid YAML at line 3"),
        ("proxy_admin: [hunter2]\n", "a value of proxy_admin that is not text"),
        ("proxy_admin: 5\n", "a value of proxy_admin that is not text"),
        ("proxy_admin: ' '\n", "a value of proxy_admin that is not text"),
        ("hunter2: 5\n", "a value that is not text"),
        ("lab_ca_cert: hunter2\n", "only one of lab_ca_cert and lab_ca_key"),
        ("lab_ca_cert: hunter2\nlab_ca_key: hunter2\n", "not PEM"),
        ("lab_headscale_cert: hunter2\nlab_headscale_key: hunter2\n", "not PEM"),
    ],
)
def test_a_broken_file_is_one_clear_error_and_stays_as_it_is(path: Path, content: str, found: str) -> None:
    write(path, content)
    with pytest.raises(TercetError) as caught:
        load_or_create(path)
    assert found in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert path.read_text() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "password", ["it's", "a:b", "{{ key }}", "a\\b", 'a"b', "with space", "a$b", "a`b", "ä", "a\nb"]
)
def test_a_password_that_files_or_sql_would_misread_is_refused(path: Path, made: dict[str, str], password: str) -> None:
    write(path, made | {"postgres_application": password})
    before = path.read_text()
    for read in (load, peek, load_or_create):
        with pytest.raises(TercetError, match="a character in postgres_application that is neither") as caught:
            read(path)
        assert password not in str(caught.value)
    assert path.read_text() == before


def test_a_password_may_have_the_punctuation_that_the_error_names(path: Path, made: dict[str, str]) -> None:
    write(path, made | {"postgres_application": f"aZ09{PUNCTUATION}"})
    loaded = load(path)
    assert loaded is not None and loaded.texts["postgres_application"] == f"aZ09{PUNCTUATION}"


def test_a_certificate_of_another_authority_is_refused(path: Path, made: dict[str, str]) -> None:
    other = make_server(HOST, make_authority("other", HOST))
    mixed = made | {"lab_headscale_cert": other.certificate, "lab_headscale_key": other.key}
    del mixed["proxy_admin"]
    write(path, mixed)
    with pytest.raises(TercetError, match="not signed by lab_ca_cert: remove lab_headscale_cert and lab_headscale_key"):
        load_or_create(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.binary(max_size=80))
@example(b"\xff\xfe")
@example(b'a: "\\UFFFFFFFF"')
@example(b"[" * 3000)
@example(b"a: 2001-99-99")
@example(b"? {}\n")
@example(b"a: !!bool x\n")
def test_no_content_crashes_or_is_overwritten(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "garbage.secrets.yml"
    path.write_bytes(raw)
    path.chmod(0o600)
    with contextlib.suppress(TercetError):
        assert load(path) is None
    assert path.read_bytes() == raw


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TercetError, match="No such file or directory"):
        load_or_create(tmp_path / "none" / "tercet.secrets.yml")


def test_a_failed_write_leaves_the_old_file_whole(
    path: Path, made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, {name: value for name, value in made.items() if name != "proxy_admin"})
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TercetError, match="No space left on device"):
        load_or_create(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_only_one_generates_at_a_time(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(TercetError, match="found another tercet doing so"):
        load_or_create(path)
    assert not path.exists()
    os.close(folder)
    assert isinstance(load_or_create(path), Secrets)


def test_many_at_once_agree(path: Path) -> None:
    """Whoever comes second waits its turn by being told so; nobody returns secrets that are not in the file."""
    program = (
        "import sys; from pathlib import Path\n"
        "from tercet.inventory.secrets import load_or_create, TercetError\n"
        "try:\n    print(load_or_create(Path(sys.argv[1])).texts['proxy_admin'])\n"
        "except TercetError as e:\n    print('told', e)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0].strip() for process in running}
    agreed = {line for line in said if not line.startswith("told")}
    assert agreed == {yaml.safe_load(path.read_text())["proxy_admin"]}


def test_the_authority_signs_for_headscale_alone() -> None:
    authority = make_authority("tercet lab", HOST)
    server = make_server(HOST, authority)
    assert signed_by(server, authority)
    assert not signed_by(server, make_authority("tercet lab", HOST))
    assert not signed_by(Pair(server.certificate, authority.key), authority)
    certificate = x509.load_pem_x509_certificate(server.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert certificate.not_valid_after_utc > datetime.now(UTC) + LIFETIME - timedelta(days=1)
    assert certificate.not_valid_before_utc < datetime.now(UTC)
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    constraint = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert constraint.value.permitted_subtrees == [x509.DNSName(HOST)]


@pytest.mark.parametrize(("name", "trusted"), [(HOST, True), ("example.org", False)])
def test_a_tls_client_that_trusts_the_authority_trusts_headscale(
    path: Path, tmp_path: Path, name: str, trusted: bool
) -> None:
    """A handshake in memory, with OpenSSL on both ends."""
    made = load_or_create(path)
    (tmp_path / "server.pem").write_text(made.texts["lab_headscale_cert"] + made.texts["lab_headscale_key"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    client = ssl.create_default_context(cadata=made.texts["lab_ca_cert"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )

    def shake() -> None:
        for _ in range(4):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()

    if trusted:
        shake()
        assert ends[0].version() == "TLSv1.3"
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake()
