"""Detached OpenPGP signatures, checked by gpgv or sqv (apt needs one of them, so every Debian has it)."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import TercetError
from tercet.host.process import run

TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key: the armored file, and the fingerprint of its primary key (40 hex digits)."""

    path: Path
    fingerprint: str


async def check_signature(content: bytes, signature: bytes, key: Key, what: str) -> None:
    """Raise TercetError unless `signature` over `content` was made by `key`. `what` names the content in messages."""
    verify = next((verify for program, verify in VERIFIERS.items() if shutil.which(program)), None)
    if verify is None:
        raise TercetError(f"{what} is signed, and checking that needs gpgv; run: apt-get install gpgv")
    with tempfile.TemporaryDirectory(prefix="tercet-signature-") as name:
        signed, detached = Path(name) / "signed", Path(name) / "signed.sig"
        signed.write_bytes(content)
        detached.write_bytes(signature)
        try:
            await verify(signed, detached, key)
        except TercetError as error:
            raise TercetError(
                f"{what} should carry a valid signature of the key {key.fingerprint}, but that could not be "
                f"shown: {error}"
            ) from error


async def _gpgv(signed: Path, detached: Path, key: Key) -> None:
    keyring = signed.with_name("key.gpg")
    keyring.write_bytes(dearmor(key.path.read_text()))
    argv = ["gpgv", "--keyring", str(keyring), "--status-fd", "1", str(detached), str(signed)]
    lines = await run(argv, timeout=TIMEOUT)
    if not any(_valid(line, key.fingerprint) for line in lines):
        raise TercetError("it was made by another key")


async def _sqv(signed: Path, detached: Path, key: Key) -> None:
    """sqv succeeds for a valid signature of a key in the keyring, which has only this key."""
    await run(["sqv", "--keyring", str(key.path), str(detached), str(signed)], timeout=TIMEOUT)


VERIFIERS: Mapping[str, Callable[[Path, Path, Key], Awaitable[None]]] = {"gpgv": _gpgv, "sqv": _sqv}


def _valid(line: str, fingerprint: str) -> bool:
    """gpgv's status line VALIDSIG ends with the primary key's fingerprint (GnuPG, doc/DETAILS)."""
    words = line.split()
    return words[:2] == ["[GNUPG:]", "VALIDSIG"] and words[-1] == fingerprint


def dearmor(armored: str) -> bytes:
    """The binary form of an armored block: the base64 between the empty line and the checksum (RFC 9580, 6.2)."""
    lines = iter(armored.strip().splitlines())
    for line in lines:
        if not line.strip():
            break
    body = [line.strip() for line in lines if not line.startswith(("=", "-----"))]
    return base64.b64decode("".join(body))
