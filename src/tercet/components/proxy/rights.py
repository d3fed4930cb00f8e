"""What Consul Template may do in `dcs`: read where the primary is."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.consul.access import Rule, Rules
from tercet.components.context import Context
from tercet.components.patroni.declaration import scope
from tercet.inventory.platform import Node, Role


def _apps(context: Context, node: Node) -> Iterable[Rule]:
    if node.role is Role.APPS:
        yield Rule("key_prefix", f"{scope(context.platform)}/", "read")


RIGHTS = Rules(_apps)
