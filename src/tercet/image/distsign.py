"""Checks the signatures of Tailscale's files, like Tailscale's own updater.

Root keys, which are part of tercet, sign the bundle of signing keys (`distsign.pub`, `distsign.pub.sig`), and a signing
key signs each file (`FILE.sig`). All are Ed25519. The signed data of a file is its BLAKE2s-256 digest and its length,
eight bytes, little-endian. Source: package clientupdate/distsign of the Go module tailscale.com 1.98.10, whose sum the
wrapper's go.sum pins; keys/tailscale.pem is its folder `roots`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tercet.errors import TercetError

ROOT, SIGNING = "ROOT", "SIGNING"


def signing_keys(bundle: bytes, signature: bytes, roots: bytes, what: str) -> tuple[Ed25519PublicKey, ...]:
    """The signing keys in the bundle. Raises TercetError unless one of the root keys signed it; `what` is its URL."""
    if not _signed_by_any(keys_of(roots, ROOT), bundle, signature):
        raise TercetError(
            f"{what} should carry a signature of one of Tailscale's root keys, but does not: it is not Tailscale's, "
            "or the keys that this tercet carries are too old"
        )
    return keys_of(bundle, SIGNING)


def check_file(file: Path, signature: bytes, keys: Iterable[Ed25519PublicKey], what: str) -> None:
    """Raise TercetError unless one of the signing keys signed the file that came from the URL `what`."""
    if not _signed_by_any(keys, message_of(file), signature):
        raise TercetError(
            f"{what} should carry a signature of one of Tailscale's signing keys, but does not: it is not "
            "Tailscale's, or so old that another key signed it. Another version may do, or sources.tailscale: go-module"
        )


def message_of(file: Path) -> bytes:
    """The signed data of a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "blake2s").digest()
    return digest + file.stat().st_size.to_bytes(8, "little")


def keys_of(pem: bytes, kind: str) -> tuple[Ed25519PublicKey, ...]:
    """The public keys of this kind in a PEM file, whose blocks contain the 32 bytes directly."""
    blocks = re.findall(rf"-----BEGIN {kind} PUBLIC KEY-----\s+(\S+)\s+-----END {kind} PUBLIC KEY-----".encode(), pem)
    try:
        return tuple(Ed25519PublicKey.from_public_bytes(base64.b64decode(block, validate=True)) for block in blocks)
    except ValueError as error:
        raise TercetError(f"expected Ed25519 public keys in PEM, found a block that is not one: {error}") from error


def _signed_by_any(keys: Iterable[Ed25519PublicKey], message: bytes, signature: bytes) -> bool:
    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False
