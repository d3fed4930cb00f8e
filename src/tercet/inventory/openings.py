"""What a component opens in the firewall of its nodes: to other nodes, and to users of the node other than root.

A port that nobody opens can be used only on its own node. A port that no user has can be used only by root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tercet.inventory.platform import Node, Platform, Role

EVERYBODY = ""
"""All users of a node."""

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A port on the nodes of the roles `to`, which the nodes of the roles `of` may use over the tailnet: all of them,
    or only those of the same site (`within_site`).

    `port` is a key of the inventory's `ports`, or a range of port numbers.
    """

    port: str | range
    to: tuple[Role, ...]
    of: tuple[Role, ...]
    protocols: tuple[Protocol, ...] = ("tcp",)
    within_site: bool = False

    def sources(self, node: Node, platform: Platform) -> tuple[str, ...]:
        """The names of the nodes that may use it on this node, in the inventory's order."""
        if node.role not in self.to:
            return ()
        others = (each for each in platform.nodes if each.role in self.of and each != node)
        return tuple(each.name for each in others if not self.within_site or each.site == node.site)

    def numbers(self, platform: Platform) -> str:
        """The port, or the range as FIRST-LAST."""
        if isinstance(self.port, range):
            return f"{self.port[0]}-{self.port[-1]}"
        return str(platform.settings.ports.model_dump()[self.port])


@dataclass(frozen=True, slots=True)
class Use:
    """A port of the platform, by its key in the inventory's `ports`, that a user other than root may connect to. `user`
    is a name on the node, who may connect to it on its own node and on others, or EVERYBODY, on the own node only.
    """

    port: str
    user: str = EVERYBODY


def users(platform: Platform, uses: Iterable[Use]) -> dict[str, list[int]]:
    """The ports that each user may connect to."""
    ports, found = platform.settings.ports.model_dump(), dict[str, set[int]]()
    for use in uses:
        found.setdefault(use.user, set()).add(ports[use.port])
    return {user: sorted(found[user]) for user in sorted(found)}


def gossip(port: str, roles: tuple[Role, ...], *, within_site: bool = False) -> Opening:
    """The port of a gossip pool among the nodes of these roles: UDP for messages, TCP for whole states."""
    return Opening(port, roles, roles, ("tcp", "udp"), within_site)


def rules(node: Node, platform: Platform, openings: Iterable[Opening]) -> list[dict[str, list[str]]]:
    """The openings of a node as rules: for each group of sources (`of`), the ports that it may use (`tcp`, `udp`)."""
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for opening in openings:
        if sources := opening.sources(node, platform):
            group = groups.setdefault(sources, {"of": list(sources), "tcp": [], "udp": []})
            for protocol in opening.protocols:
                group[protocol].append(opening.numbers(platform))
    return list(groups.values())
