"""`up` and `down`: the whole way from an inventory to a verified platform, and back to nothing.

`up` is idempotent and resumes: each of its stages asks what exists before it does anything, and the plan of a
platform that is as it should be is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tercet.components.proxy.component import Proxy
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.plan import Plan
from tercet.converge.resident import Residents
from tercet.observe.verify import Verdict, verify
from tercet.operations.change import carry_out, for_change, make_plan
from tercet.operations.session import Session, operator


@dataclass(frozen=True, slots=True)
class Raised:
    """What `up` did: the session with its image, the plan that was carried out, and the proof."""

    session: Session
    plan: Plan
    verdicts: list[Verdict]

    @property
    def proven(self) -> bool:
        return not any(verdict.broken for verdict in self.verdicts)


async def up(session: Session, emit: Emit) -> Raised:
    """Image, containers, components, proof. TercetError says what stopped it; running it again goes on."""
    session = await for_change(session, emit)
    _announce_proxy(session, emit)
    async with Residents(session.provider) as fleet:
        async with session.provider.lock(operator("up")):
            plan = await _converge(session, fleet, emit, lambda _plan: None)
        return Raised(session, plan, await _prove(session, fleet, emit))


async def apply(session: Session, emit: Emit, show: Callable[[Plan], None]) -> Plan:
    """Make a plan under the lock, show it, and execute exactly it."""
    session = await for_change(session, emit)
    async with Residents(session.provider) as fleet, session.provider.lock(operator("apply")):
        return await _converge(session, fleet, emit, show)


async def _converge(session: Session, fleet: Fleet, emit: Emit, show: Callable[[Plan], None]) -> Plan:
    """Plan, show, execute. What is in a node that is silent because its container is frozen or cut off can only be
    known once the provider has repaired that, so then there are two plans, and both are shown."""
    plan = await make_plan(session)
    show(plan)
    if plan.unreachable and plan.infrastructure:
        await session.provider.prepare(plan.infrastructure, emit)
        plan = await make_plan(session)
        show(plan)
    await carry_out(session, plan, fleet, emit)
    return plan


async def prove(session: Session, emit: Emit) -> list[Verdict]:
    """The specification's promises on the running platform."""
    async with Residents(session.provider) as fleet:
        return await _prove(session, fleet, emit)


async def _prove(session: Session, fleet: Fleet, emit: Emit) -> list[Verdict]:
    return await verify(session.platform, session.components, Proxy(session.context), fleet, emit)


async def down(session: Session, emit: Emit) -> None:
    """Destroy what `up` made of this platform. The image cache and the secrets stay."""
    async with session.provider.lock(operator("down")):
        await session.provider.destroy(emit)


def _announce_proxy(session: Session, emit: Emit) -> None:
    if session.image is not None:
        emit(Event("image", "progress", f"proxy: {session.image.proxy}: {session.image.proxy_reason}"))
