"""`secrets rotate`: new passwords, tokens, gossip keys and certificate authorities for a running platform.

1. The database nodes announce the new secrets in their record of the secrets (components/identity/fingerprint.py), so
   that both the old and the new ones are accepted.
2. Programs that know their clients learn the new ones, too (components/preparation.py).
3. The new secrets are written into the operator's file, all or none.
4. `apply` makes them definitive in the records, brings them into the database and to the programs, and removes what the
   old ones left.

Broken off before step 3, nothing has changed: the next `apply` removes the announcement and what was prepared. Broken
off after it, `apply` or the same command does what is left.

An authority takes three rounds of `apply` (inventory/authorities.py). The file knows which is next, so the
same command continues there.

The application's two logins are replaced one after the other, so that one of them works at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tercet.components.identity.fingerprint import READ, Fingerprint
from tercet.components.patroni.declaration import APPLICATION_PASSWORD, SECOND_PASSWORD
from tercet.components.preparation import Preparation
from tercet.components.registry import additions
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.persistent import PersistentAgents
from tercet.converge.plan import Plan
from tercet.converge.requests import Answer, Request, patience
from tercet.errors import TercetError
from tercet.inventory import authorities
from tercet.inventory.generated import Authority, Password
from tercet.inventory.platform import Role
from tercet.inventory.secrets import (
    Secrets,
    declared,
    load_or_create,
    made_password,
    replaceable,
    set_passwords,
)
from tercet.operations.apply import plan_and_execute
from tercet.operations.change import make_plan, with_image, with_own_secrets
from tercet.session.session import Session, operator

PHASE = "rotate"
# What happens next to an authority that is being replaced.
NEXT = {
    authorities.BEGUN: "the following one signs, and both are trusted",
    authorities.SIGNING: "the former one is no longer trusted",
}
ASK_S = 15.0


def rotatable() -> tuple[str, ...]:
    """The names of the secrets that can be changed on a running platform."""
    return tuple(secret.name for secret in declared() if isinstance(secret, (Password, Authority)) and secret.live)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The secrets with these names or keys in the file. Raises TercetError if one cannot be changed on a running
    platform.
    """
    secret_of = _secret_of()
    possible = f"expected one of {', '.join(rotatable())}, or --all"
    for name in names:
        if name not in secret_of:
            raise TercetError(f"{possible}; there is no secret {name}. Nothing was changed")
        if secret_of[name] not in rotatable():
            raise TercetError(f"{possible}; {name} cannot be changed on a running platform yet. Nothing was changed")
    return tuple(dict.fromkeys(secret_of[name] for name in names))


def _secret_of() -> dict[str, str]:
    """The secret of each name and of each key in the file."""
    return {key: secret.name for secret in declared() for key in (secret.name, *secret.keys)}


async def rotate(session: Session, names: Sequence[str], emit: Emit, show: Callable[[Plan], None]) -> tuple[str, ...]:
    """Replace these secrets; `show` gets the plan that brings them into force. If an earlier run was broken off, its
    secrets are brought into force instead.

    Returns the names of the secrets that were replaced. Raises TercetError with what stopped it; run it again to
    continue.
    """
    names = chosen(names)
    _refuse_lost(session)
    session = await with_image(session, emit)
    async with (
        session.provider.lock(operator(f"secrets rotate {' '.join(names)}")),
        PersistentAgents(session.provider) as fleet,
    ):
        session = await with_own_secrets(session, emit)
        begun = tuple(dict.fromkeys((*await _begun(session), *authorities.replaced(session.context.secrets))))
        if begun:
            emit(Event(PHASE, "progress", f"an earlier run began to change {', '.join(begun)}: this continues it"))
        else:
            await _refuse_unsettled(session)
            await _begin(session, _without_second(names), emit)
        done = begun or _without_second(names)
        session = await _in_force(session, fleet, emit, show)
        while rounds := authorities.replaced(session.context.secrets):
            for name, stage in rounds.items():
                emit(Event(PHASE, "progress", f"{name}: {NEXT[stage]}"))
            if following := authorities.following(session.context.secrets):
                await _announce(session, following)
            authorities.advance(session.secrets_file)
            session = await _in_force(session, fleet, emit, show)
        if APPLICATION_PASSWORD.name in done and SECOND_PASSWORD.name in {*names} - {*done}:
            done = (*done, SECOND_PASSWORD.name)
            await _begin(session, (SECOND_PASSWORD.name,), emit)
            await _in_force(session, fleet, emit, show)
    return done


def _without_second(names: tuple[str, ...]) -> tuple[str, ...]:
    """Without the password of the second login, if that of the first is replaced before it."""
    return tuple(name for name in names if name != SECOND_PASSWORD.name or APPLICATION_PASSWORD.name not in names)


def _refuse_lost(session: Session) -> None:
    """A lost site would return with old keys for gossip and old tokens."""
    if lost := [site.name for site in session.platform.lost_sites]:
        raise TercetError(
            f"expected every site to be there, found {', '.join(lost)} lost: take it back with `tercet recover rejoin` "
            "first. Nothing was changed"
        )


async def _begin(session: Session, names: Sequence[str], emit: Emit) -> None:
    replaced = {each.name for each in replaceable()} & set(names)
    if new := {name: made_password() for name in names if name not in replaced}:
        await _announce(session, new)
        await _prepare(session, new, emit)
        set_passwords(session.secrets_file, new)
    if replaced:
        authorities.begin(session.secrets_file, replaced)


async def _in_force(session: Session, fleet: Fleet, emit: Emit, show: Callable[[Plan], None]) -> Session:
    """Bring what the operator's file has into force. Raises TercetError if a node does not have it afterwards."""
    session = session.with_secrets(load_or_create(session.secrets_file))
    plan = await plan_and_execute(session, fleet, emit, show, ())
    if plan.away:
        raise TercetError(
            f"expected every node to take the new secrets, found {', '.join(sorted(plan.away))} silent. Run this again "
            "when it is back: it continues"
        )
    return session


async def _records(session: Session) -> dict[str, Answer]:
    """Each database node's record. Raises TercetError if one of them does not answer."""
    asked: dict[str, dict[str, Request]] = {node.name: {"it": READ} for node in session.platform.of(Role.DB)}
    readings = await ask(session.provider, asked, timeout=ASK_S)
    answers = {name: readings.get(name, "it") for name in asked}
    if silent := [f"{name}: {answer.why()}" for name, answer in answers.items() if not answer.ok]:
        raise TercetError(
            f"expected every database node to answer, because each has a record of the secrets, found "
            f"{'; '.join(silent)}. Nothing was changed"
        )
    return answers


async def _begun(session: Session) -> tuple[str, ...]:
    """The secrets in the operator's file that the records only announce."""
    fingerprint = Fingerprint(session.context)
    found = [fingerprint.announced(node, answer) for node, answer in (await _records(session)).items()]
    secret_of = _secret_of()
    return tuple(dict.fromkeys(secret_of[key] for keys in found for key in keys))


async def _refuse_unsettled(session: Session) -> None:
    """Refuse while something else is to be changed: it would be changed together with the secrets."""
    plan = await make_plan(session)
    if plan.unreachable:
        raise TercetError(
            f"expected every node to answer, found {', '.join(sorted(plan.away))} silent: a node that is away would "
            "return with the old secrets. Nothing was changed"
        )
    if not plan.empty:
        raise TercetError(
            "expected a platform that is as the inventory says, found changes in `tercet plan`: run `tercet apply` "
            "first. Nothing was changed"
        )


async def _announce(session: Session, new: dict[str, str]) -> None:
    announcing = Fingerprint(session.context).announcing(new)
    databases = [node.name for node in session.platform.of(Role.DB)]
    readings = await ask(session.provider, {name: {"it": announcing} for name in databases}, timeout=ASK_S + 20)
    if failed := [f"{name}: {readings.get(name, 'it').why()}" for name in databases if not readings.get(name, "it").ok]:
        raise TercetError(
            f"expected every database node to record that the secrets change, found {'; '.join(failed)}. No secret "
            "was changed; run this again"
        )


async def _prepare(session: Session, new: dict[str, str], emit: Emit) -> None:
    """What each node is asked, one request after the other, and all nodes at the same time."""
    secrets = Secrets({**session.context.secrets.texts, **new})
    for each in additions(Preparation):
        names = ", ".join(name for name in each.names if name in new)
        if not names:
            continue
        emit(Event(PHASE, "progress", f"the platform is prepared for new {names}"))
        requests = each.requests(session.context, secrets)
        for turn in range(max(map(len, requests.values()))):
            asked = {node: {"it": of_node[turn]} for node, of_node in requests.items() if turn < len(of_node)}
            limit = patience(request for node in asked.values() for request in node.values())
            readings = await ask(session.provider, asked, timeout=limit)
            failed = [f"{node}: {answer.why()}" for node in asked if not (answer := readings.get(node, "it")).ok]
            if failed:
                raise TercetError(
                    f"expected the programs to accept new {names}, found {'; '.join(failed)}. No "
                    "secret was changed; run this again"
                )
