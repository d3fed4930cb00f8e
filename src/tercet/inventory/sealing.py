"""Encrypts the file of secrets for the operators who may read it, with age (age-encryption.org/v1).

A *recipient* is the public key of an operator: an age key or an SSH key. An operator's private key is the *identity*, a
file in the format of `age-keygen` or an OpenSSH private key without a passphrase: the file that the environment
variable TERCET_IDENTITY names, or `~/.config/tercet/identity`, which is made when it is needed for the first time.
`age --decrypt -i IDENTITY FILE` reads the file of secrets without tercet.

Invariant: no message of this module has a private key or a secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tercet.errors import TercetError
from tercet.inventory.replace import replace_file

if TYPE_CHECKING:
    from pyrage import ssh, x25519

    Identity = x25519.Identity | ssh.Identity

ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
VARIABLE = "TERCET_IDENTITY"
_AGE = "AGE-SECRET-KEY-"
_SSH = "-----BEGIN OPENSSH PRIVATE KEY-----"


def identity_file() -> Path:
    """Where this operator's private key is, or is to be."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "tercet" / "identity"


def parse_recipient(text: str) -> Any:
    """The public key. Raises ValueError if it is none."""
    from pyrage import RecipientError, ssh, x25519  # noqa: PLC0415 - only those who encrypt need it

    try:
        return ssh.Recipient.from_str(text) if text.startswith("ssh-") else x25519.Recipient.from_str(text)
    except RecipientError as error:
        raise ValueError(str(error)) from None


def own_recipient() -> str:
    """The public key of this operator, whose private key is made now if there is none. Raises TercetError."""
    from pyrage import x25519  # noqa: PLC0415

    path = identity_file()
    if not path.exists():
        if os.environ.get(VARIABLE):
            raise TercetError(f"expected this operator's private key in {path}, as {VARIABLE} says, found no such file")
        return _make(path)
    ours = _identities(path)[0]
    if isinstance(ours, x25519.Identity):
        return str(ours.to_public())
    raise TercetError(
        f"expected the public keys of all operators as `secrets.recipients` in the inventory, found none; the one that "
        f"belongs to {path} is in the .pub file beside it"
    )


def seal(text: bytes, recipients: Sequence[str]) -> bytes:
    """The text, encrypted for these public keys. Raises TercetError if this operator could not read it again."""
    import pyrage  # noqa: PLC0415

    sealed = pyrage.encrypt(text, [parse_recipient(each) for each in recipients], armored=True)
    path = identity_file()
    try:
        readable = path.exists() and pyrage.decrypt(sealed, _identities(path)) == text
    except pyrage.DecryptError:
        readable = False
    if not readable:
        raise TercetError(
            f"expected the public key of {path} among `secrets.recipients`, found that its owner could not read the "
            f"secrets again: add it ({_public(path)})"
        )
    return sealed


def unseal(sealed: bytes, path: Path) -> bytes:
    """The text of the file at `path`. Raises TercetError if this operator's key does not open it, or it is broken."""
    import pyrage  # noqa: PLC0415

    key = identity_file()
    if not key.exists():
        raise TercetError(
            f"expected a private key that opens {path} in {key}, found no such file: restore it from your copy, or let "
            f"another operator add your key to `secrets.recipients` (`tercet takeover` says how)"
        )
    try:
        return pyrage.decrypt(sealed, _identities(key))
    except pyrage.DecryptError as error:
        if "No matching keys" not in str(error):
            raise TercetError(
                f"expected {path} to be a whole file that age encrypted, found: {error}: restore it from your copy; "
                "tercet changes nothing in a broken file"
            ) from None
    raise TercetError(
        f"expected the private key in {key} to open {path}, found that it was encrypted for others: let one of them "
        f"add your key to `secrets.recipients` and run `tercet apply` ({_public(key)})"
    )


def _make(path: Path) -> str:
    from pyrage import x25519  # noqa: PLC0415

    made = x25519.Identity.generate()
    public = str(made.to_public())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, f"# public key: {public}\n{made}\n".encode())
    except OSError as error:
        raise TercetError(f"expected to write this operator's private key to {path}, found {error.strerror}") from None
    return public


def _identities(path: Path) -> list[Identity]:
    """The private keys in the file; at least one."""
    from pyrage import IdentityError, ssh, x25519  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise TercetError(f"expected this operator's private key in {path}, found {error.strerror}") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise TercetError(
            f"expected {path} to be readable only by its owner, found mode {stat.S_IMODE(mode):04o}: "
            f"run `chmod 600 {path}`"
        )
    try:
        if _SSH in text:
            return [ssh.Identity.from_buffer(text.encode())]
        found = [x25519.Identity.from_str(line.strip()) for line in text.splitlines() if line.startswith(_AGE)]
    except IdentityError:
        found = []
    if not found:
        raise TercetError(
            f"expected {path} to have an age key (a line that begins with {_AGE}) or an OpenSSH private key without a "
            "passphrase, found neither"
        )
    return list(found)


def _public(path: Path) -> str:
    """The public key that belongs to the file, as far as it is known, for a message."""
    from pyrage import x25519  # noqa: PLC0415

    ours = _identities(path)[0] if path.exists() else None
    return str(ours.to_public()) if isinstance(ours, x25519.Identity) else f"see {path}.pub"
