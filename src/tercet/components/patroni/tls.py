"""TLS between nodes for everything that PostgreSQL sends.

Each database node has a certificate with its name, from an authority that signs for nothing else. A standby,
pg_basebackup and pg_rewind check the certificate and its name (`verify-full`), so no other node can pass for the
primary. The clients prove who they are with SCRAM.
"""

from __future__ import annotations

from collections.abc import Mapping

from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.mutual_tls import Folder, Member, keys_of
from tercet.components.patroni.declaration import AUTHORITY
from tercet.inventory.platform import Node, Role

FOLDER = Folder("/etc/postgresql-tls")
CLIENT = {"sslmode": "verify-full", "sslrootcert": FOLDER.ca}
"""libpq's settings on a database node."""


def member(context: Context, node: Node) -> Member:
    return Member(context, AUTHORITY, (node.name,))


def parameters() -> dict[str, str]:
    """PostgreSQL's parameters."""
    return {
        "ssl": "on",
        "ssl_cert_file": FOLDER.node,
        "ssl_key_file": FOLDER.node,
        "ssl_min_protocol_version": "TLSv1.3",  # all clients are the platform's own
    }


def _secrets(context: Context) -> Mapping[str, str]:
    return keys_of(
        {f"key of {node.name} in PostgreSQL": member(context, node) for node in context.platform.of(Role.DB)}
    )


SECRETS = Derived(_secrets)
