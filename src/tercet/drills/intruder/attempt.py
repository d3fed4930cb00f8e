"""An attempt of the intruder, and calls to an API that should be denied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Http
from tercet.nodeside.endpoint import Endpoint

DENIED = 403
ASK_S = 30.0
# A server without a leader answers 500, which neither denies nor gives anything. An election takes about a second.
TRIES, PAUSE_S = 5, 1.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """`position` says who tried, and `what` they tried. `reached` is what should have been refused, in words; "" if all
    was refused.
    """

    position: str
    what: str
    reached: str

    @property
    def refused(self) -> bool:
        return not self.reached


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changes nothing, even if it is not denied."""

    method: str
    path: str
    body: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


async def not_denied(fleet: Fleet, node: str, at: Endpoint, calls: Iterable[Call]) -> str:
    """The calls that the API on that node does not deny, with its answers; "" if it denies all."""
    left, found = tuple(calls), list[str]()
    for _ in range(TRIES):
        asked = {str(call): Http(at, call.path, call.method, call.body.encode(), timeout=10) for call in left}
        readings = await ask(fleet, {node: asked}, timeout=ASK_S)
        answers = {call: readings.get(node, str(call)) for call in left}
        clear = {call: answer for call, answer in answers.items() if 0 < answer.status < 500}
        found += [f"{call}: status {answer.status}" for call, answer in clear.items() if answer.status != DENIED]
        left = tuple(call for call in left if call not in clear)
        if not left:
            break
        await asyncio.sleep(PAUSE_S)
    return "; ".join([*found, *(f"{call}: no clear answer ({answers[call].why()})" for call in left)])
