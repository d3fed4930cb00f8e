"""`up` and `down`: from an inventory to a verified platform, and back to nothing.

`up` is idempotent and continues an interrupted run: each stage first checks what exists, and the plan is empty if the
platform already has its desired state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tercet.converge.events import Emit, Event
from tercet.converge.persistent import PersistentAgents
from tercet.converge.plan import Plan
from tercet.observe.verify import Verdict, verify
from tercet.operations.apply import plan_and_execute
from tercet.operations.change import with_image, with_own_secrets
from tercet.session.session import Session, operator


@dataclass(frozen=True, slots=True)
class Raised:
    """What `up` did: the session with its image, the plan that was carried out, and the proof."""

    session: Session
    plan: Plan
    verdicts: list[Verdict]

    @property
    def proven(self) -> bool:
        return not any(verdict.broken for verdict in self.verdicts)


async def up(
    session: Session, emit: Emit, destroy: Collection[str] = (), gates: Mapping[str, float] = MappingProxyType({})
) -> Raised:
    """Make the image, the containers and the components, and prove the promises. Raises TercetError with what stopped
    it; run it again to continue.

    `destroy`: nodes that the inventory no longer has, whose containers and databases may be removed. `gates`: see
    `execute`.
    """
    session = await with_image(session, emit)
    _announce_proxy(session, emit)
    # Everything that is started under the lock ends before the lock is released. The proof needs no lock.
    async with session.provider.lock(operator("up")), PersistentAgents(session.provider) as fleet:
        session = await with_own_secrets(session, emit)
        plan = await plan_and_execute(session, fleet, emit, lambda _plan: None, destroy, gates=gates)
    return Raised(session, plan, await prove(session, emit))


async def prove(session: Session, emit: Emit) -> list[Verdict]:
    """Judge the specification's promises on the running platform."""
    async with PersistentAgents(session.provider) as fleet:
        return await verify(session.context, session.components, fleet, emit)


async def down(session: Session, emit: Emit) -> None:
    """Destroy what `up` made of this platform. The image cache and the secrets stay."""
    async with session.provider.lock(operator("down")):
        await session.provider.destroy(emit)


def _announce_proxy(session: Session, emit: Emit) -> None:
    if session.image is not None:
        emit(Event("image", "progress", f"proxy: {session.image.proxy}: {session.image.proxy_reason}"))
