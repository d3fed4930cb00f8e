"""Changing a platform: what it needs first, the plan, and carrying it out."""

from __future__ import annotations

from tercet.converge.apply import apply
from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.observe import observe
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import plan
from tercet.errors import TercetError
from tercet.image.build import ensure_image
from tercet.inventory.secrets import holds_any, load_or_create
from tercet.operations.restarts import restart
from tercet.operations.session import Session, assemble, secrets_file, with_secrets

OBSERVE_TIMEOUT_S = 15.0
GATE_S = 180.0  # seconds for one gate; on two busy cores a start takes up to 60, on a slow machine thrice that


async def with_image(session: Session, emit: Emit) -> Session:
    """The same session with an image, made now where it is missing. That takes minutes, and no lock."""
    await _refuse_lost_secrets(session)
    image = await ensure_image(session.platform.settings, session.lock_file, emit)
    return session if image == session.image else assemble(session.file, session.platform, image)


async def with_own_secrets(session: Session) -> Session:
    """The same session with its secrets, made now where they are missing.

    Only under the provider's lock: else two operators make two sets for one platform.
    """
    await _refuse_lost_secrets(session)
    return with_secrets(session, load_or_create(secrets_file(session.file)))


async def _refuse_lost_secrets(session: Session) -> None:
    """New passwords and a new authority must not silently replace those that an existing platform lives with."""
    path = secrets_file(session.file)
    if holds_any(path):
        return
    made = [change.what for change in await session.provider.doomed() if change.what.startswith("container ")]
    if made:
        raise TercetError(
            f"expected the secrets of platform {session.platform.name} in {path}, found none although it exists "
            f"({', '.join(made)}): restore the file from your copy, or begin anew with `tercet down`"
        )


async def make_plan(session: Session) -> Plan:
    """Compare the inventory with what runs. Changes nothing."""
    await _refuse_lost_secrets(session)
    infrastructure = await session.provider.survey()
    if session.image is None:
        undecided = "; the proxy is undecided until then: PgCat if it can be had, else pgpool-II"
        why = "not in the cache" + (undecided if session.proxy_reason is None else "")
        infrastructure = (Change("build", "image", why), *infrastructure)
    nodes = session.platform.containers
    wanted = {
        node.name: [resource for component in session.components for resource in component.desired(node)]
        for node in nodes
    }
    running = await session.provider.running()
    observation = await observe(session.provider, wanted, running, timeout=OBSERVE_TIMEOUT_S)
    return plan(session.components, nodes, observation, infrastructure)


async def carry_out(session: Session, todo: Plan, fleet: Fleet, emit: Emit) -> None:
    """Execute exactly this plan: containers first, then each component, gated by health, then the restarts of
    containers that serve. `fleet` has the nodes."""
    if todo.unreachable:
        names = "; ".join(f"{name}: {reason}" for name, reason in todo.unreachable)
        raise TercetError(
            f"nodes that run but do not answer: {names}. Nothing was changed. Look at them with "
            f"`tercet status`, or stop them so that they are started anew"
        )
    if todo.infrastructure:
        await session.provider.prepare(todo.infrastructure, emit)
    nodes = session.platform.containers
    await apply(todo, session.components, nodes, fleet, emit, gate_timeout=GATE_S)
    await restart(
        todo.restarts,
        session.components,
        nodes,
        provider=session.provider,
        fleet=fleet,
        emit=emit,
        gate_timeout=GATE_S,
    )
