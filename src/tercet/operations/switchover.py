"""A planned switchover: Patroni makes another standby the primary, but only if the standby is fit.

Fit means the same as in a failover: running, streaming, counted for commits, and not lagging. A standby that is not fit
is refused before anything happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from tercet.components.patroni import component as patroni
from tercet.components.patroni.component import SWITCH_S
from tercet.components.patroni.status import MemberStatus, PostgresKeys, PostgresStatus
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Request
from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role
from tercet.session.session import Session, operator


@dataclass(frozen=True, slots=True)
class Switched:
    """The old and the new primary."""

    old: str
    new: str


async def switchover(session: Session, site: str | None, emit: Emit) -> Switched:
    """Hand the lead to the database node of `site`, or to the fittest standby. Raises TercetError if none is fit."""
    async with session.provider.lock(operator("switchover")):
        postgres = (await session.snapshot()).of(PostgresKeys).postgres
        old, target = choose(session.platform, postgres, site)
        emit(Event("switchover", "started", f"{old} hands the lead to {target}"))
        request = patroni.hand_over(session.platform.settings.postgresql.service, old, target)
        answer = (await ask(session.provider, {target: {"switch": request}}, timeout=SWITCH_S + 5)).get(
            target, "switch"
        )
        if not answer.ok:
            raise TercetError(
                f"Patroni did not hand the lead from {old} to {target}: {answer.why()}. The old primary leads on, or "
                f"Patroni decides; see `tercet status`"
            )
        await _wait_until_done(session, target)
        emit(Event("switchover", "done", f"{target} is primary"))
    return Switched(old, target)


def choose(platform: Platform, postgres: PostgresStatus, site: str | None) -> tuple[str, str]:
    """(the primary, the standby that takes over). Pure. Raises TercetError with the reason if no standby can
    take over.
    """
    if postgres.primary is None:
        raise TercetError("there is no primary to switch from: Patroni decides; see `tercet status`")
    standbys = [member for member in postgres.members if member.node != postgres.primary]
    most_lag = platform.settings.patroni.maximum_lag_on_failover
    if site is None:
        fit = sorted((m for m in standbys if unfit(m, most_lag) is None), key=lambda member: member.lag_bytes or 0)
        if not fit:
            reasons = "; ".join(f"{member.node} {unfit(member, most_lag)}" for member in standbys) or "there is none"
            raise TercetError(f"expected a standby that can take over, found: {reasons}")
        return postgres.primary, fit[0].node
    names = [each.name for each in platform.sites]
    if site not in names:
        raise TercetError(f"there is no site {site}: expected one of {', '.join(names)}")
    target = platform.at(site, Role.DB).name
    if target == postgres.primary:
        raise TercetError(f"{target} is the primary already")
    member = next((each for each in standbys if each.node == target), None)
    reason = unfit(member, most_lag) if member else "is not a member of the cluster now"
    if reason:
        raise TercetError(
            f"{target} cannot take over: it {reason}. Choose another site, or wait until it has caught up"
        )
    return postgres.primary, target


def unfit(member: MemberStatus, most_lag: int) -> str | None:
    """The reason why this standby must not become primary; None if it may. `most_lag` in bytes, as for a failover."""
    if member.state != "streaming":
        return f"is {member.state}, not streaming"
    if not member.sync:
        return "does not count for commits"
    if member.lag_bytes is None or member.lag_bytes > most_lag:
        return "lags by an unknown amount" if member.lag_bytes is None else f"lags by {member.lag_bytes} bytes"
    return None


async def _wait_until_done(session: Session, target: str) -> None:
    databases = [node.name for node in session.platform.of(Role.DB)]
    component = patroni.Patroni(session.context)
    asked: dict[str, dict[str, Request]] = {
        node.name: dict(component.questions(node)) for node in session.platform.of(Role.DB)
    }

    def leads(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        return Passing() if primary == target else Waiting(f"{primary or 'no node'} is primary")

    condition = Condition(f"{target} is primary", leads)
    [(_, state)] = await wait_for([condition], asked, session.provider, deadline=SWITCH_S)
    if not isinstance(state, Passing):
        raise TercetError(f"the switchover to {target} was accepted, but after {SWITCH_S:g} s {state.reason}")
