"""The database as a service in `dcs`, with the tags primary and replica according to Patroni's REST API.

Each node is registered with both tags, and a check each second decides which one is valid. Patroni's own registration
has a race in which the old tag can win (hashicorp/consul#13578), and disappears after 100 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.dcs.services import Services
from tercet.components.patroni.declaration import PatroniPorts
from tercet.inventory.platform import Node, Role


def _database(context: Context, node: Node) -> Iterable[Mapping[str, object]]:
    if node.role is not Role.DB:
        return
    settings = context.platform.settings
    api = endpoints.patroni(context.platform, node.name)
    for tag in ("primary", "replica"):
        yield {
            "id": f"{settings.postgresql.service}-{tag}",
            "name": settings.postgresql.service,
            "tags": [tag],
            "port": settings.ports.of(PatroniPorts).postgresql,
            # Consul would check the certificate with the authority of its own agents. The check never leaves the node.
            "check": {"http": api.url(f"/{tag}"), "tls_skip_verify": True, "interval": "1s", "timeout": "1s"},
        }


DATABASE = Services(_database)
