"""`apply`: a plan is made, shown, and executed, all under the platform's lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.persistent import PersistentAgents
from tercet.converge.plan import Plan
from tercet.operations.change import execute, make_plan, refuse_destruction, with_image, with_own_secrets
from tercet.session.session import Session, operator


async def apply(session: Session, emit: Emit, show: Callable[[Plan], None], destroy: Collection[str] = ()) -> Plan:
    """Make a plan under the lock, show it, and execute exactly this plan. The returned plan has what still waits.

    `destroy`: as for `up`.
    """
    session = await with_image(session, emit)
    async with session.provider.lock(operator("apply")), PersistentAgents(session.provider) as fleet:
        session = await with_own_secrets(session, emit)
        return await plan_and_execute(session, fleet, emit, show, destroy)


async def plan_and_execute(
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
