"""TLS between nodes for everything that PostgreSQL and Patroni send.

Each database node has a certificate with its name, from an authority that signs for nothing else. A standby,
pg_basebackup and pg_rewind check the certificate and its name (`verify-full`), so no other node can pass for the
primary. The clients prove who they are with SCRAM.

Patroni's REST API has the same certificate. Calls that change something also need a certificate of the caller, which
only database nodes have.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from tercet.components.context import Context
from tercet.components.derived import Derived
from tercet.components.mutual_tls import Folder, Member, keys_of
from tercet.components.patroni.declaration import AUTHORITY
from tercet.converge.resources import File
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


def authorities(context: Context) -> File:
    """The authority once more, under a name with a part of its hash: Patroni loads another authority only if the name
    of the file is another one (api.py, reload_config).
    """
    content = context.secrets.trusted(AUTHORITY).encode()
    return File(f"{FOLDER.path}/ca-{sha256(content).hexdigest()[:8]}.pem", content)


def rest_api(context: Context) -> dict[str, str]:
    """Patroni's settings as a server. Whoever only asks needs no certificate."""
    files = {"certfile": FOLDER.node, "keyfile": FOLDER.node, "cafile": authorities(context).path}
    return {**files, "verify_client": "optional"}


def control(context: Context) -> dict[str, str]:
    """The settings of Patroni and patronictl as clients."""
    return {"certfile": FOLDER.node, "keyfile": FOLDER.node, "cacert": authorities(context).path}


def _secrets(context: Context) -> Mapping[str, str]:
    return keys_of(
        {f"key of {node.name} in PostgreSQL": member(context, node) for node in context.platform.of(Role.DB)}
    )


SECRETS = Derived(_secrets)
