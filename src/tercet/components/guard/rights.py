"""What the daemons of control nodes may do in `dcs`."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.consul.access import Rule, Rules
from tercet.components.context import Context
from tercet.components.guard.component import counted, leader_key
from tercet.inventory.platform import Node, Role


def _control(context: Context, node: Node) -> Iterable[Rule]:
    if node.role is not Role.CONTROL:
        return
    yield Rule("key", leader_key(context.platform), "read")
    yield Rule("operator", "", "write")  # to see the servers and to hand the leadership over
    yield Rule("key", counted(node), "write")


RIGHTS = Rules(_control)
