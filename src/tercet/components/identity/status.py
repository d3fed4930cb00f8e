"""The ends of the platform's certificates in `status`: all in --json, and a line for each that ends soon.

The certificates of nodes are derived from their authority's and end with it (inventory/certificates.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from rich.text import Text

from tercet.components.context import Context
from tercet.components.status import Notes, StatusModel
from tercet.converge.component import Readings
from tercet.inventory import authorities
from tercet.inventory.generated import Password
from tercet.inventory.secrets import declared

SOON = timedelta(days=180)


class CertificateStatus(StatusModel):
    name: str
    ends: str
    """The day, as in 2036-11-27."""
    soon: bool
    being_replaced: bool
    """`tercet secrets rotate` was broken off. Run it again, or the former authority remains trusted."""


class CertificateKeys(StatusModel):
    certificates: tuple[CertificateStatus, ...] = ()


def _read(context: Context, _: Readings, now: datetime) -> CertificateKeys:
    from tercet.inventory.certificates import end_of  # noqa: PLC0415 - the library takes long to import

    found: list[CertificateStatus] = []
    replaced = authorities.replaced(context.secrets)
    for secret in declared():
        if isinstance(secret, Password):
            continue
        try:
            ends = end_of(context.secrets.pair(secret).certificate)
        except ValueError:  # not made yet
            continue
        soon = ends - now.astimezone(UTC) < SOON
        found.append(
            CertificateStatus(
                name=secret.name, ends=f"{ends:%Y-%m-%d}", soon=soon, being_replaced=secret.name in replaced
            )
        )
    return CertificateKeys(certificates=tuple(found))


def _lines(seen: CertificateKeys) -> Iterable[Text]:
    for certificate in seen.certificates:
        if certificate.soon:
            yield Text(f"certificate {certificate.name}: ends on {certificate.ends}", "yellow")
        if certificate.being_replaced:
            again = f"run `tercet secrets rotate {certificate.name}` again"
            yield Text(f"certificate {certificate.name}: its replacement is not complete, {again}", "yellow")


CERTIFICATES = Notes(CertificateKeys, _read, _lines)
