"""State in the replicated database, such as a user. It is checked and changed on the node that is primary at that time,
which may be another one than when the plan was made.
"""

from __future__ import annotations

from collections.abc import Iterable

from tercet.components.context import Context
from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import Object
from tercet.inventory.platform import Node, Role


def of_primary(context: Context, node: Node, name: str, probe: Exec, change: Exec) -> Iterable[Object]:
    """The object, if `node` is the initial primary: it is declared once, and planned there while there is no cluster.

    The probe answers "standby" on a standby, and on the primary "ready" or the reason for the change.
    """
    platform = context.platform
    if node != platform.initial_primary:
        return
    others = (database.name for database in platform.of(Role.DB) if database != node)
    yield Object(
        name,
        probe,
        not_ready,
        (change,),
        on=(node.name, *others),
        here=on_primary,
        settle=context.timing.ttl + 30.0,  # a failover takes up to ttl if gossip does not end the session
    )


def on_primary(answer: Answer) -> bool:
    """Whether the answer to a probe is from the primary."""
    return answer.ok and answer.text.strip() != "standby"


def not_ready(answer: Answer) -> str | None:
    """The reason for a change."""
    if not on_primary(answer):
        return "no database node is primary"
    text = answer.text.strip()
    return None if text == "ready" else text
