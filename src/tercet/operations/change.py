"""Changes a platform: prepares image and secrets, makes the plan, and carries it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tercet.components.identity import membership
from tercet.components.identity.membership import holders
from tercet.converge.apply import apply
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.observe import observe
from tercet.converge.plan import Change, Plan
from tercet.converge.planner import desired, plan
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.image.build import ensure_image
from tercet.inventory.sealing import identity_file, own_recipient
from tercet.inventory.secrets import claim, holds_any, load_or_create, owner, recipients
from tercet.operations.entries import take_out_replaced
from tercet.operations.restarts import restart
from tercet.session.session import Session

OBSERVE_TIMEOUT_S = 15.0
GATE_S = 180.0  # seconds for one gate; on two busy cores a start takes up to 60, on a slow machine three times that


async def with_image(session: Session, emit: Emit) -> Session:
    """The same session with an image, which is built now if it is missing. This takes minutes, and needs no lock."""
    await _refuse_lost_secrets(session)
    await _refuse_another_name(session)
    image = await ensure_image(session.platform.settings, session.lock_file, emit)
    return session.with_image(image)


async def with_own_secrets(session: Session, emit: Emit) -> Session:
    """The same session with its secrets, which are generated now if they are missing, in a file for the readers that
    the inventory names.

    Call this only under the provider's lock; otherwise two operators could make two sets for one platform.
    """
    await _refuse_lost_secrets(session)
    before, readers = recipients(session.secrets_file), _readers(session, emit)
    secrets = load_or_create(session.secrets_file, readers)
    if readers != before:
        who = f"encrypted for {len(readers)} public keys" if len(readers) > 1 else "encrypted for your public key"
        text = f"{session.secrets_file} is {who if readers else 'not encrypted'}"
        emit(Event("secrets", "done", text))
    claim(session.secrets_file, session.platform.name)
    return session.with_secrets(secrets)


def _readers(session: Session, emit: Emit) -> tuple[str, ...]:
    """The public keys for which the secrets are encrypted; empty if they are not to be encrypted."""
    wanted = session.platform.settings.secrets
    if not wanted.encrypt:
        return ()
    if readers := wanted.recipients or recipients(session.secrets_file):
        return readers
    is_new = not identity_file().exists()
    own = own_recipient()
    if is_new:
        text = f"made your private key {identity_file()}, which opens the platform's secrets: keep a copy elsewhere"
        emit(Event("secrets", "done", text))
    return (own,)


async def _refuse_lost_secrets(session: Session) -> None:
    """Refuse if the secrets are missing although the platform exists: new ones must not silently replace them."""
    path = session.secrets_file
    if holds_any(path):
        return
    if made := _containers(await session.provider.destroy_plan()):
        raise TercetError(
            f"expected the secrets of platform {session.platform.name} in {path}, found none although it exists "
            f"({made}): restore the file from your backup, or start over with `tercet down`"
        )


async def _refuse_another_name(session: Session) -> None:
    """Refuse if the platform was renamed in the inventory while its containers have the old name."""
    name = session.platform.name
    former = owner(session.secrets_file)
    if former in ("", name):
        return
    if made := _containers(await session.named(former).provider.destroy_plan()):
        raise TercetError(
            f"expected `platform: {former}` in {session.file}, found {name}: the platform {former} exists "
            f"({made}), and a platform cannot be renamed. Restore its old name; another platform needs "
            "an inventory in another folder. Or destroy it, under its old name, with `tercet down`"
        )


def _containers(destroy_plan: tuple[Change, ...]) -> str:
    """The containers that certainly exist, as text; "" if there are none."""
    return ", ".join(change.what for change in destroy_plan if change.target.kind is Kind.CONTAINER)


def refuse_destruction(todo: Plan, allowed: Collection[str]) -> None:
    """Raise TercetError if the plan destroys the database of a node that is not in `allowed`."""
    refused = [change for change in todo.destructions if change.destroys not in allowed]
    if not refused:
        return
    options = " ".join(f"--destroy {change.destroys}" for change in refused)
    raise TercetError(
        f"expected the inventory to have every node that holds a database, found without: "
        f"{', '.join(change.destroys for change in refused)}. Nothing was changed. A site cannot be renamed: "
        f"restore its old name. Or use `{options}` to remove its container with the database in it"
    )


async def make_plan(session: Session) -> Plan:
    """Compare the inventory with what runs. Changes nothing. A site that cannot be reached is left out."""
    await _refuse_lost_secrets(session)
    await _refuse_another_name(session)
    survey = await session.provider.survey()
    infrastructure = survey.changes
    if session.image is None:
        undecided = "; the proxy is undecided until then: PgCat if it is available, otherwise pgpool-II"
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
    containers that serve. `fleet` reaches the nodes. Waiting changes are not made, and nodes that cannot be reached are
    not asked.

    `gates`: seconds for the gates of these components, if not GATE_S.
    """
    await take_out_replaced(session, todo, emit)
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
