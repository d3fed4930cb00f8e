"""Generated secrets, kept in one file of mode 0600 beside the inventory. See `load_or_create`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secrets:
    """All generated secrets. `repr` shows none of them."""

    postgres_superuser: str = field(repr=False)
    postgres_replication: str = field(repr=False)
    postgres_rewind: str = field(repr=False)
    postgres_application: str = field(repr=False)
    patroni_api: str = field(repr=False)  # basic auth of Patroni's REST API for everything that changes state
    proxy_admin: str = field(repr=False)
    lab_ca_cert: str = field(repr=False)  # PEM; signs the certificate of the lab's headscale
    lab_ca_key: str = field(repr=False)
    lab_headscale_cert: str = field(repr=False)
    lab_headscale_key: str = field(repr=False)
