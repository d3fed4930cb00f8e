"""What Nomad may do in Consul: register itself, and on apps nodes the services of its jobs, which have any name."""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.consul.access import Layer, Rule, Rules
from tercet.components.context import Context
from tercet.inventory.platform import Node, Role


def _nomad(_: Context, node: Node) -> Iterable[Rule]:
    match node.role:
        case Role.CONTROL:
            yield Rule("service", "nomad", "write")
            yield Rule("operator", "", "write")  # to see the servers, and to make the agents forget a lost site
        case Role.APPS:
            yield Rule("service_prefix", "", "write")


RIGHTS = Rules(_nomad, Layer.SITE)
