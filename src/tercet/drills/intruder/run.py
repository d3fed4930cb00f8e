"""All attempts of the intruder, on a platform that is not disturbed: no call changes anything, even if it succeeds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tercet.converge.events import Emit, Event
from tercet.drills.intruder import impostors, jobs, logins, outside, tokens, users
from tercet.drills.intruder.attempt import Attempt
from tercet.session.session import Session, operator

PHASE = "intruder"
KINDS: tuple[Callable[[Session], Awaitable[list[Attempt]]], ...] = (
    users.attempts,
    impostors.attempts,
    tokens.attempts,
    logins.attempts,
    jobs.attempts,
    outside.attempts,
)


async def intrude(session: Session, emit: Emit) -> list[Attempt]:
    """Make all attempts under the platform's lock; `emit` gets each. Raises TercetError if one cannot be judged."""
    made: list[Attempt] = []
    async with session.provider.lock(operator("drill intruder")):
        for kind in KINDS:
            for attempt in await kind(session):
                text = f"{attempt.position}: {attempt.what}"
                emit(Event(PHASE, "progress" if attempt.refused else "failed", text))
                made.append(attempt)
    return made
