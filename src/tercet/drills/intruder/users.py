"""A user of a node other than root tries every port of the platform, on its own node and on others."""

from __future__ import annotations

from tercet.components.firewall.proof import doors, knock
from tercet.converge.observe import ask
from tercet.drills.intruder.attempt import ASK_S, Attempt
from tercet.session.session import Session

USERS = ("nobody", "postgres")


async def attempts(session: Session) -> list[Attempt]:
    platform = session.platform
    tried = {(node.name, user): doors(platform, node.name, user) for node in platform.nodes for user in USERS}
    asked = {node.name: {user: knock(user, tried[node.name, user]) for user in USERS} for node in platform.nodes}
    readings = await ask(session.provider, asked, timeout=ASK_S)
    found = []
    for (node, user), each in tried.items():
        answer = readings.get(node, user)
        said = answer.text.splitlines()
        opened = [door for door in each if f"refused {door}" not in said]
        reached = f"not refused at {', '.join(opened)}" if opened and answer.ok else answer.why() if opened else ""
        found.append(Attempt(f"{user} on {node}", f"{len(each)} ports of the platform", reached))
    return found
