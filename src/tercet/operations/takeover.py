"""`takeover`: whether this machine can operate a platform that another one made."""

from __future__ import annotations

from tercet.operations.change import make_plan
from tercet.session.session import Session


async def silent_nodes(session: Session) -> list[str]:
    """The nodes that do not answer. Raises TercetError if the platform runs with other secrets than this machine's."""
    await make_plan(session)
    snapshot = await session.snapshot()
    return [node.name for site in snapshot.sites for node in site.nodes if node.reason]
