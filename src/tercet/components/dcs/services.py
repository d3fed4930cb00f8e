"""The services in `dcs`. Each component declares its services in its `additions`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.registry import additions
from tercet.inventory.platform import Node


@dataclass(frozen=True, slots=True)
class Services:
    """One component's services on a node, in the form of Consul's configuration."""

    of: Callable[[Context, Node], Iterable[Mapping[str, object]]]


def registered(context: Context, node: Node) -> list[Mapping[str, object]]:
    """All services on that node."""
    return [service for each in additions(Services) for service in each.of(context, node)]
