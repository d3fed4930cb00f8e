"""`secrets rotate`: new passwords for a running platform.

1. The database nodes announce the new passwords in their record of the secrets (components/identity/fingerprint.py), so
   that both the old and the new ones are accepted.
2. The new passwords are written into the operator's file, all or none.
3. `apply` makes them definitive in the records, and brings them into the database and to the programs.

Broken off before step 2, nothing has changed: the next `apply` removes the announcement. Broken off after it, `apply`
or the same command does what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tercet.components.identity.fingerprint import READ, Fingerprint
from tercet.converge.events import Emit, Event
from tercet.converge.observe import ask
from tercet.converge.persistent import PersistentAgents
from tercet.converge.plan import Plan
from tercet.converge.requests import Answer, Request
from tercet.errors import TercetError
from tercet.inventory.generated import Password
from tercet.inventory.platform import Role
from tercet.inventory.secrets import declared, load_or_create, made_password, set_passwords
from tercet.operations.apply import plan_and_execute
from tercet.operations.change import make_plan, with_image, with_own_secrets
from tercet.session.session import Session, operator

PHASE = "rotate"
ASK_S = 15.0


def rotatable() -> tuple[str, ...]:
    """The names of the passwords that can be changed on a running platform."""
    return tuple(secret.name for secret in declared() if isinstance(secret, Password) and secret.live)


def refuse_others(names: Sequence[str]) -> None:
    """Raise TercetError if one of these secrets cannot be changed on a running platform."""
    known = [key for secret in declared() for key in secret.keys]
    possible = f"expected one of {', '.join(rotatable())}, or --all"
    for name in names:
        if name not in known:
            raise TercetError(f"{possible}; there is no secret {name}. Nothing was changed")
        if name not in rotatable():
            raise TercetError(f"{possible}; {name} cannot be changed on a running platform yet. Nothing was changed")


async def rotate(session: Session, names: Sequence[str], emit: Emit, show: Callable[[Plan], None]) -> tuple[str, ...]:
    """Replace these passwords; `show` gets the plan that brings them into force. If an earlier run was broken off, its
    passwords are brought into force instead.

    Returns the names of the passwords that were replaced. Raises TercetError with what stopped it; run it again to
    continue.
    """
    refuse_others(names)
    session = await with_image(session, emit)
    async with (
        session.provider.lock(operator(f"secrets rotate {' '.join(names)}")),
        PersistentAgents(session.provider) as fleet,
    ):
        session = await with_own_secrets(session, emit)
        begun = await _begun(session)
        if begun:
            emit(Event(PHASE, "progress", f"an earlier run began to change {', '.join(begun)}: this continues it"))
        else:
            await _refuse_unsettled(session)
            new = {name: made_password() for name in names}
            await _announce(session, new)
            set_passwords(session.secrets_file, new)
            session = session.with_secrets(load_or_create(session.secrets_file))
        await plan_and_execute(session, fleet, emit, show, ())
    return begun or tuple(names)


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
    """The passwords in the operator's file that the records only announce."""
    fingerprint = Fingerprint(session.context)
    found = [fingerprint.announced(node, answer) for node, answer in (await _records(session)).items()]
    return tuple(dict.fromkeys(name for names in found for name in names))


async def _refuse_unsettled(session: Session) -> None:
    """Refuse while something else is to be changed: it would be changed together with the passwords."""
    plan = await make_plan(session)
    if plan.unreachable:
        raise TercetError(
            f"expected every node to answer, found {', '.join(sorted(plan.away))} silent: a node that is away would "
            "return with the old passwords. Nothing was changed"
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
