"""The application's connection string, without its password in any argument list."""

from __future__ import annotations

from collections.abc import Sequence

from tercet.components.proxy.declaration import ProxyPorts
from tercet.components.proxy.serving import PASSFILE
from tercet.session.session import Session


def psql_line(session: Session, options: Sequence[str]) -> list[str]:
    """The psql command for an apps node, through its proxy. The password comes from the node's own password file."""
    settings = session.platform.settings
    where = (
        f"host=localhost port={settings.ports.of(ProxyPorts).proxy} dbname={settings.postgresql.database} "
        f"user={settings.postgresql.user} passfile={PASSFILE}"
    )
    return ["psql", where, *options]
