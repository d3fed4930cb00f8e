"""Lists database files that were moved aside, and removes them by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from tercet.components.patroni.aside import Aside, AsideStatus, moved_aside, removal
from tercet.converge.fleet import Unreachable
from tercet.converge.observe import ask
from tercet.converge.requests import Exec
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.session.session import Session, operator

LOOK_S = 10.0


async def listed(session: Session) -> list[AsideStatus]:
    """What was moved aside on all database nodes. Raises TercetError if a node does not answer."""
    component = Aside(session.context)
    nodes = session.platform.of(Role.DB)
    readings = await ask(session.provider, {node.name: component.questions(node) for node in nodes}, timeout=LOOK_S)
    answers = {node.name: readings.get(node.name, "aside") for node in nodes}
    if silent := [readings.silence(name) or f"{name}: {said.why()}" for name, said in answers.items() if not said.ok]:
        raise TercetError(
            f"expected every database node to report what was moved aside there, found: {'; '.join(silent)}"
        )
    return moved_aside(session.platform, readings, datetime.now(UTC))


async def find(session: Session, node: str, name: str) -> AsideStatus:
    """The files of that name on that node. Raises TercetError with the existing names if there are none."""
    here = [each for each in await listed(session) if each.node == node]
    for each in here:
        if each.name == name:
            return each
    if not here:
        raise TercetError(f"nothing was moved aside on {node}; see `tercet aside list`")
    names = ", ".join(each.name for each in here)
    raise TercetError(f"there are no files {name} moved aside on {node}: expected one of {names}")


async def remove(session: Session, aside: AsideStatus) -> None:
    """Remove these files permanently."""
    request: Exec = removal(aside.name)
    async with session.provider.lock(operator(f"aside remove {aside.node} {aside.name}")):
        try:
            done = await session.provider.run(aside.node, request.argv, timeout=request.timeout)
        except Unreachable as error:
            raise TercetError(f"{error}. Run the command again: a part of {aside.path} may be left") from error
    if done.status != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip() or f"exit status {done.status}"
        raise TercetError(f"expected {aside.path} to be removed from {aside.node}, found: {said}")
