"""The proxies in `status`: the nodes where each site's applications read and write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from tercet.components.context import Context
from tercet.components.proxy.component import routes_of
from tercet.components.status import StatusModel, Table
from tercet.converge.component import Readings
from tercet.inventory.platform import Role
from tercet.tables import Cell


class RouteStatus(StatusModel):
    """The database nodes that answer. `transaction` answers the reads of a transaction before its first write."""

    site: str
    read: str | None
    write: str | None
    transaction: str | None = None
    proxy: str


class RoutesKeys(StatusModel):
    routes: list[RouteStatus]


def _read(context: Context, readings: Readings) -> RoutesKeys:
    routes = []
    for node in context.platform.of(Role.APPS):
        to = routes_of(readings.get(node.name, "routes"))
        answer = {"read": to.read or None, "write": to.write or None, "transaction": to.transaction or None}
        kind = "" if context.proxy_reason is None else context.proxy
        routes.append(RouteStatus(site=node.site, proxy=kind, **answer))
    return RoutesKeys(routes=routes)


def _rows(seen: RoutesKeys) -> Iterable[Sequence[Cell]]:
    none = Text("none", "red")
    for route in seen.routes:
        yield route.site, route.read or none, route.write or none, route.proxy or "unknown"


ROUTES = Table(RoutesKeys, _read, ("APPLICATION AT", "READS FROM", "WRITES TO", "PROXY"), _rows)
