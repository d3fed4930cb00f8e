"""TLS to a Proxmox API, with a pinned certificate or one that a certificate authority signed.

Invariant: with a pinned fingerprint, no byte of a request is sent before the server has shown exactly that certificate.
Its issuer, name and expiry are not checked then.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path

from tercet.errors import TercetError


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a DER certificate as Proxmox writes it: AB:CD:…"""
    return hashlib.sha256(certificate).digest().hex(":").upper()


class PinnedContext(ssl.SSLContext):
    """A client's context that accepts one certificate. `shown` is the fingerprint of the one that the last server
    showed instead.
    """

    expected: str
    shown: str | None = None


class _PinnedObject(ssl.SSLObject):
    """Checks the certificate at the end of the handshake, before anything can be sent."""

    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        certificate = self.getpeercert(binary_form=True)
        if not isinstance(context, PinnedContext) or certificate is None:
            raise ssl.SSLError("no certificate to compare with the pinned one")
        found = fingerprint_of(certificate)
        if found != context.expected:
            context.shown = found
            raise ssl.SSLError("the certificate is not the pinned one")


def pinned(fingerprint: str) -> PinnedContext:
    """A context that accepts only the certificate with this SHA-256 fingerprint."""
    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin replaces all other checks
    context.expected = fingerprint
    context.sslobject_class = _PinnedObject
    return context


def signed(ca: Path | None) -> ssl.SSLContext:
    """A context that accepts certificates for the server's name, signed by `ca` (default: the system's CAs)."""
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise TercetError(
            f"expected the certificate of an authority (PEM) in {ca}, found {error.strerror or 'no certificate'}: "
            "name the right file at `ca`, or use `fingerprint`"
        ) from None


async def shown_fingerprint(host: str, port: int, timeout: float) -> str | None:
    """The fingerprint of the certificate that a server shows, whatever it is. Only for messages: do not trust it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return None
    try:
        transport: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        certificate = transport.getpeercert(binary_form=True) if transport else None
        return fingerprint_of(certificate) if certificate else None
    finally:
        writer.close()
