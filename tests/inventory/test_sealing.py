"""The file of secrets is encrypted for the operators, with real age keys and real SSH keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pyrage import x25519

from tercet.errors import TercetError
from tercet.inventory.sealing import ARMOR, VARIABLE, identity_file, own_recipient
from tercet.inventory.secrets import claim, load, load_or_create, owner, peek, recipients, set_passwords


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tercet.secrets.yml"


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator who has no key yet."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return identity_file()


def another(folder: Path, name: str = "another") -> tuple[Path, str]:
    """The private and the public key of another operator."""
    made = x25519.Identity.generate()
    key = folder / name
    key.write_text(f"# made elsewhere\n{made}\n")
    key.chmod(0o600)
    return key, str(made.to_public())


def test_the_operators_key_is_made_once_and_only_its_owner_can_read_it(operator: Path) -> None:
    first = own_recipient()
    assert first.startswith("age1") and own_recipient() == first
    assert operator.stat().st_mode & 0o777 == 0o600 and operator.parent.stat().st_mode & 0o777 == 0o700


def test_an_empty_variable_names_no_key(operator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert own_recipient().startswith("age1") and operator.exists()


def test_the_file_has_no_secret_to_read_and_opens_with_the_key(path: Path, operator: Path) -> None:
    plain = load_or_create(path)
    made = load_or_create(path, (own_recipient(),))
    raw = path.read_bytes()
    assert made == plain == load(path) and raw.startswith(ARMOR)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [name for name, value in made.texts.items() if value.encode() in raw or name.encode() in raw]
    claim(path, "one")
    assert owner(path) == "one" and path.read_bytes().startswith(ARMOR), "who writes it next keeps it encrypted"
    assert load_or_create(path) == made and recipients(path) == (own_recipient(),)


def test_it_is_written_again_only_if_its_readers_change(path: Path, operator: Path, tmp_path: Path) -> None:
    key, public = another(tmp_path)
    own = own_recipient()
    made = load_or_create(path, (own,))
    before = path.read_bytes()
    assert load_or_create(path, (own,)) == made and path.read_bytes() == before
    assert load_or_create(path, (own, public)) == made and path.read_bytes() != before
    assert recipients(path) == (own, public)
    operator.write_bytes(key.read_bytes())
    assert peek(path) == made, "the other operator reads it, too"
    assert load_or_create(path, ()) == made and not path.read_bytes().startswith(ARMOR)


def test_nobody_locks_themselves_out(path: Path, operator: Path, tmp_path: Path) -> None:
    own = own_recipient()
    made = load_or_create(path, (own,))
    before = path.read_bytes()
    _, public = another(tmp_path)
    with pytest.raises(TercetError, match=f"among `secrets.recipients`, found that its owner could not .*{own}"):
        load_or_create(path, (public,))
    assert path.read_bytes() == before and load(path) == made


def test_an_ssh_key_opens_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Ed25519PrivateKey.generate()
    private = tmp_path / "id_ed25519"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    private.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    monkeypatch.setenv(VARIABLE, str(private))
    assert load_or_create(path, (f"{public} anna@desk",)) == load(path)
    with pytest.raises(TercetError, match=r"`secrets.recipients` .*is in the \.pub file beside it"):
        own_recipient()


def test_who_has_no_key_or_another_one_is_told_what_to_do(path: Path, operator: Path, tmp_path: Path) -> None:
    load_or_create(path, (own_recipient(),))
    operator.unlink()
    for read in (load, peek, owner, load_or_create):
        with pytest.raises(TercetError, match=r"found no such file: restore it .*`tercet takeover` says how"):
            read(path)
    key, public = another(tmp_path)
    operator.write_bytes(key.read_bytes())
    operator.chmod(0o600)
    with pytest.raises(TercetError, match=rf"encrypted for others: .*`tercet apply` \({public}\)"):
        load(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "found neither"),
        ("AGE-SECRET-KEY-1T0RN", "found neither"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nt0rn", "found neither"),
    ],
)
def test_a_broken_key_is_named(path: Path, operator: Path, text: str, found: str) -> None:
    load_or_create(path, (own_recipient(),))
    operator.write_text(text)
    with pytest.raises(TercetError, match=found) as error:
        load(path)
    assert str(operator) in str(error.value)
    assert not text or text.splitlines()[-1] not in str(error.value)


def test_a_key_that_others_can_read_is_refused(path: Path, operator: Path) -> None:
    load_or_create(path, (own_recipient(),))
    operator.chmod(0o640)
    with pytest.raises(TercetError, match="found mode 0640: run `chmod 600"):
        load(path)


@pytest.mark.parametrize("keep", [60, 0.5, 0.98])
def test_a_torn_or_changed_file_is_refused_and_not_replaced(path: Path, operator: Path, keep: float) -> None:
    load_or_create(path, (own_recipient(),))
    raw = path.read_bytes()
    torn = raw[: int(keep if keep > 1 else keep * len(raw))]
    for broken in (torn, raw.replace(raw[-200:-190], raw[-190:-180], 1)):
        path.write_bytes(broken)
        for read in (load, load_or_create):
            with pytest.raises(TercetError, match="restore it from your copy"):
                read(path)
        assert path.read_bytes() == broken


def test_the_file_that_the_environment_names_is_never_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(TercetError, match=f"as {VARIABLE} says, found no such file"):
        own_recipient()
    assert not (tmp_path / "missing").exists()


def test_a_password_is_replaced_in_the_encrypted_file(path: Path, operator: Path) -> None:
    before = load_or_create(path, (own_recipient(),)).texts
    set_passwords(path, {"proxy_admin": "another-one"})
    assert peek(path).texts == {**before, "proxy_admin": "another-one"} and path.read_bytes().startswith(ARMOR)
    for name, value, problem in (
        ("lab_ca_key", "x", "expected the name of a password"),
        ("nothing", "x", "found nothing: it has"),
        ("proxy_admin", "two words", "found another character"),
        ("proxy_admin", "", "or nothing"),
    ):
        with pytest.raises(TercetError, match=problem):
            set_passwords(path, {name: value})
    assert peek(path).texts["proxy_admin"] == "another-one"
