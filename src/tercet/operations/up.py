"""`up` and `down`: from an inventory to a verified platform, and back to nothing.

`up` is idempotent and continues an interrupted run: each stage first checks what exists, and the plan is empty if the
platform already has its desired state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tercet.components.proxy.component import Proxy
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.persistent import PersistentAgents
from tercet.converge.plan import Plan
from tercet.observe.verify import Verdict, verify
from tercet.operations.change import execute, make_plan, refuse_destruction, with_image, with_own_secrets
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
        session = await with_own_secrets(session)
        plan = await converge(session, fleet, emit, lambda _plan: None, destroy, gates=gates)
    return Raised(session, plan, await prove(session, emit))


async def apply(session: Session, emit: Emit, show: Callable[[Plan], None], destroy: Collection[str] = ()) -> Plan:
    """Make a plan under the lock, show it, and execute exactly this plan. The returned plan has what still waits.

    `destroy`: as for `up`.
    """
    session = await with_image(session, emit)
    async with session.provider.lock(operator("apply")), PersistentAgents(session.provider) as fleet:
        session = await with_own_secrets(session)
        return await converge(session, fleet, emit, show, destroy)


async def converge(
    session: Session,
    fleet: Fleet,
    emit: Emit,
    show: Callable[[Plan], None],
    destroy: Collection[str],
    *,
    gates: Mapping[str, float] = MappingProxyType({}),
) -> Plan:
    """Plan, show, execute. If a node is silent because its container is frozen or cut off, its state is known only when
    the provider has repaired that. In that case there are two plans, and both are shown.

    Returns the plan that was carried out, with what waits afterwards: only then it is known whether a change needs a
    restart that must wait.
    """
    plan = await make_plan(session)
    show(plan)
    refuse_destruction(plan, destroy)
    if plan.unreachable and plan.infrastructure:
        await session.provider.prepare(plan.infrastructure, emit)
        plan = await make_plan(session)
        show(plan)
        refuse_destruction(plan, destroy)
    await execute(session, plan, fleet, emit, gates)
    if plan.waiting and not plan.empty:
        left = await make_plan(session)
        plan = replace(plan, unreachable=left.unreachable, waiting=left.waiting)
    return plan


async def prove(session: Session, emit: Emit) -> list[Verdict]:
    """Judge the specification's promises on the running platform."""
    async with PersistentAgents(session.provider) as fleet:
        return await verify(session.platform, session.components, Proxy(session.context), fleet, emit)


async def down(session: Session, emit: Emit) -> None:
    """Destroy what `up` made of this platform. The image cache and the secrets stay."""
    async with session.provider.lock(operator("down")):
        await session.provider.destroy(emit)


def _announce_proxy(session: Session, emit: Emit) -> None:
    if session.image is not None:
        emit(Event("image", "progress", f"proxy: {session.image.proxy}: {session.image.proxy_reason}"))
