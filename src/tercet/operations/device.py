"""What this machine sees of the platform if it is a device of the same tailnet, as an operator's laptop often is.

A control server that applies the access controls of `tercet tailnet policy` tells a device only of nodes that are open
to it. So a device that sees more shows that they are not applied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from tercet.components.tailscale.policy import EVERYBODY, PEOPLE, ways
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.inventory.platform import Platform, Role
from tercet.providers.preflight import HERE, Check, ok, skipped, warning

TITLE = "access controls of the tailnet"
ASK_S = 10.0


async def device(platform: Platform) -> Check | None:
    """None if the tailnet is the platform's own, which this machine never joins."""
    if platform.of(Role.WORLD):
        return None
    if not shutil.which("tailscale"):
        return skipped(HERE, TITLE, "it has no tailscale")
    try:
        said = json.loads(await command(["tailscale", "status", "--json"], doing="ask tailscaled", timeout=ASK_S))
    except (TercetError, ValueError):
        return skipped(HERE, TITLE, "its tailscaled does not answer")
    return judged(platform, said)


def judged(platform: Platform, said: Mapping[str, Any]) -> Check:
    """What `tailscale status --json` of this machine shows."""
    if said.get("BackendState") != "Running":
        return skipped(HERE, TITLE, "it is in no tailnet")
    tag = platform.settings.tailnet.tag
    if tag in ((said.get("Self") or {}).get("Tags") or ()):
        return warning(HERE, TITLE, f"it has the nodes' tag, {tag}", "give this machine another tag, or none")
    seen = {str(peer.get("HostName")) for peer in (said.get("Peer") or {}).values()}
    members = tuple(node.name for node in platform.nodes)
    opened = {
        node.name
        for node in platform.nodes
        if any(way.sources in (EVERYBODY, PEOPLE) for way in ways(platform, node, members))
    }
    if beyond := sorted(seen & {*members} - opened):
        found = f"it sees {', '.join(beyond)}, where nothing is open to it"
        return warning(HERE, TITLE, found, "apply the access controls that `tercet tailnet policy` prints")
    return ok(HERE, TITLE, "it sees no node that is not open to it")
