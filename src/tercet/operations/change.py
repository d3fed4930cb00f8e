"""Changing a platform: what it needs first, the plan, and carrying it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tercet.components.identity import membership
from tercet.components.identity.membership import holders
from tercet.converge.apply import apply
from tercet.converge.events import Emit
from tercet.converge.fleet import Fleet
from tercet.converge.observe import observe
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import desired, plan
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.image.build import ensure_image
from tercet.inventory.secrets import claim, holds_any, load_or_create, owner
from tercet.operations.restarts import restart
from tercet.session.session import Session

OBSERVE_TIMEOUT_S = 15.0
GATE_S = 180.0  # seconds for one gate; on two busy cores a start takes up to 60, on a slow machine thrice that


async def with_image(session: Session, emit: Emit) -> Session:
    """The same session with an image, made now where it is missing. That takes minutes, and no lock."""
    await _refuse_lost_secrets(session)
    await _refuse_another_name(session)
    image = await ensure_image(session.platform.settings, session.lock_file, emit)
    return session.with_image(image)


async def with_own_secrets(session: Session) -> Session:
    """The same session with its secrets, made now where they are missing.

    Only under the provider's lock: else two operators make two sets for one platform.
    """
    await _refuse_lost_secrets(session)
    secrets = load_or_create(session.secrets_file)
    claim(session.secrets_file, session.platform.name)
    return session.with_secrets(secrets)


async def _refuse_lost_secrets(session: Session) -> None:
    """New passwords and a new authority must not silently replace those that an existing platform lives with."""
    path = session.secrets_file
    if holds_any(path):
        return
    if made := _containers(await session.provider.destroy_plan()):
        raise TercetError(
            f"expected the secrets of platform {session.platform.name} in {path}, found none although it exists "
            f"({made}): restore the file from your copy, or begin anew with `tercet down`"
        )


async def _refuse_another_name(session: Session) -> None:
    """A platform whose name was changed in the inventory must not run on unseen under its old one."""
    name = session.platform.name
    former = owner(session.secrets_file)
    if former in ("", name):
        return
    if made := _containers(await session.named(former).provider.destroy_plan()):
        raise TercetError(
            f"expected `platform: {former}` in {session.file}, found {name}: the platform {former} exists "
            f"({made}), and a platform cannot be renamed. Write its old name again; another platform takes "
            "an inventory in a folder of its own. Or end it, under its old name, with `tercet down`"
        )


def _containers(destroy_plan: tuple[Change, ...]) -> str:
    """The containers that exist for certain, as words; "" if there is none."""
    return ", ".join(change.what for change in destroy_plan if change.target.kind is Kind.CONTAINER)


def refuse_destruction(todo: Plan, allowed: Collection[str]) -> None:
    """Raise TercetError where the plan destroys a database of a node that is not named in `allowed`."""
    refused = [change for change in todo.destructions if change.destroys not in allowed]
    if not refused:
        return
    options = " ".join(f"--destroy {change.destroys}" for change in refused)
    raise TercetError(
        f"expected the inventory to have every node that holds a database, found without: "
        f"{', '.join(change.destroys for change in refused)}. Nothing was changed. A site cannot be renamed: write its "
        f"old name again. Or say `{options}` to remove its container with the database in it"
    )


async def make_plan(session: Session) -> Plan:
    """Compare the inventory with what runs. Changes nothing. A site that cannot be reached is left out."""
    await _refuse_lost_secrets(session)
    await _refuse_another_name(session)
    survey = await session.provider.survey()
    infrastructure = survey.changes
    if session.image is None:
        undecided = "; the proxy is undecided until then: PgCat if it can be had, else pgpool-II"
        why = "not in the cache" + (undecided if session.context.proxy_reason is None else "")
        infrastructure = (Change(Verb.BUILD, Target(Kind.IMAGE, "", text="image"), why), *infrastructure)
    nodes = session.platform.containers
    wanted = desired(session.components, nodes)
    observation = await observe(session.provider, wanted, survey.running, timeout=OBSERVE_TIMEOUT_S, away=survey.away)
    answers = {node.name: observation.answer(node.name, membership.READ) for node in holders(session.platform)}
    membership.agree(session.platform, answers)
    return plan(session.components, nodes, observation, infrastructure)


async def execute(
    session: Session, todo: Plan, fleet: Fleet, emit: Emit, gates: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Execute exactly this plan: containers first, then each component, gated by health, then the restarts of
    containers that serve. `fleet` has the nodes. What waits is left, and nodes that cannot be reached are not asked.

    `gates`: seconds for the gates of these components, where that is not GATE_S.
    """
    if todo.infrastructure:
        await session.provider.prepare(todo.infrastructure, emit)
    nodes = session.platform.containers
    await apply(todo, session.components, nodes, fleet, emit, gate_timeout=GATE_S, gates=gates)
    await restart(
        todo.restarts,
        session.components,
        nodes,
        provider=session.provider,
        fleet=fleet,
        emit=emit,
        gate_timeout=GATE_S,
        away=todo.away,
    )
