"""Programs listen at the address that their node has in the tailnet.

They take it from the interface, or from /etc/hosts, when they start. A node gets another address if its device is
removed from the tailnet and joins again. Its programs then listen at the old one and reach nobody. Their files are
right, so nothing else in the plan notices it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tercet.components.context import Context
from tercet.components.tailscale.component import INTERFACE, login_of
from tercet.converge.component import Condition
from tercet.converge.requests import Answer, Exec, Request
from tercet.converge.resources import Object, Resource
from tercet.datafile import text_of
from tercet.inventory.platform import Node, Role


@dataclass(frozen=True, slots=True)
class Addresses:
    """A restart of the programs that listen at an address that their node no longer has. It comes when the firewalls of
    all nodes admit the new address.
    """

    context: Context
    name: str = "addresses"
    after: tuple[str, ...] = ("firewall",)

    def desired(self, node: Node) -> Iterable[Resource]:
        if node.role is Role.WORLD:
            return
        script = text_of(
            __package__, "stale.sh", INTERFACE=INTERFACE, TAILNET=self.context.platform.settings.tailnet.cidr
        )
        yield Object(
            f"addresses of the programs of {node.name}",
            Exec(("sh", "-c", script)),
            _stale,
            (Exec(("sh", "-c", script, "sh", "restart")),),
            follows=(login_of(node),),
        )

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        return ()


def _stale(answer: Answer) -> str | None:
    if not answer.ok:
        return f"unknown ({answer.why()})"
    found = answer.text.splitlines()
    return f"{', '.join(found)}, which is not the node's address" if any(found) else None
