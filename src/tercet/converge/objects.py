"""Changes state inside a running program until the probe shows that it is right."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tercet.converge.deferred import Resolver
from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Deferred, Exec, Http, Request, patience
from tercet.converge.resources import Object
from tercet.errors import TercetError

RETRY_S = 0.5


class Objects:
    """Makes objects on the nodes of `fleet` that are not `away`. `may_go_on` raises if nothing new may be started."""

    def __init__(self, fleet: Fleet, resolver: Resolver, may_go_on: Callable[[], None], away: frozenset[str]) -> None:
        self._fleet = fleet
        self._resolver = resolver
        self._may_go_on = may_go_on
        self._away = away

    async def bring_about(self, wanted: Object, node: str) -> str:
        """Change an object until `differs` is None, on `node` or on the node that holds it at the time. Returns the
        node where it was changed last, or "" if its state was right from the start.

        A change that fails is tried again for `settle` seconds, because the program that holds the object may still be
        starting. If another node holds the object by then, the change is made there, too. Raises TercetError with the
        reason and the last answer.
        """
        changed, problem, ends = "", "", time.monotonic() + wanted.settle
        while True:
            at, answer = await self._find(wanted, node)
            if (reason := wanted.differs(answer)) is None:
                return changed
            if changed or not at:
                if time.monotonic() >= ends:
                    raise TercetError(_too_late(wanted, changed, reason, problem or f"the answer was: {answer.why()}"))
                await asyncio.sleep(RETRY_S)
            if at and (problem or at != changed):
                if refusal := await self._refusal(wanted):
                    if wanted.optional:
                        return changed
                    raise TercetError(f"not changed: {refusal}")
                failed = await self._change(wanted, at)
                if not changed or not failed:
                    ends = time.monotonic() + wanted.settle
                changed, problem = at, failed and f"the change failed: {failed}"

    async def _find(self, wanted: Object, node: str) -> tuple[str, Answer]:
        """The node that holds the object, and its answer; "" and the reason if no node holds it."""
        if not wanted.here:
            return node, await self._answer(node, wanted.probe)
        answers = await self._answers(wanted.on, wanted.probe)
        if at := wanted.holder(answers):
            return at, answers[at]
        said = "; ".join(
            f"{name}: {(answer.text if answer.ok else answer.why()).strip()}" for name, answer in answers.items()
        )
        return "", Answer(-1, error=said)

    async def _refusal(self, wanted: Object) -> str | None:
        """The reason of the object's `permit` why the change must not happen; None if it may happen."""
        if wanted.permit is None:
            return None
        return wanted.permit({other: await self._answer(other, request) for other, request in wanted.needs})

    async def _change(self, wanted: Object, node: str) -> str:
        """Send the object's requests. Returns "", or what went wrong."""
        for request in wanted.change:
            ready = request
            if isinstance(request, Exec) and isinstance(request.stdin, Deferred):
                ready = replace(request, stdin=await self._resolver.render(request.stdin, shared=False))
            answer = await self._answer(node, ready)
            if not answer.ok:
                return _without_input(answer.why(), ready)
        return ""

    async def _answer(self, node: str, request: Request) -> Answer:
        return (await self._answers((node,), request))[node]

    async def _answers(self, nodes: Sequence[str], request: Request) -> dict[str, Answer]:
        self._may_go_on()
        questions = {node: {"": request} for node in nodes}
        readings = await ask(self._fleet, questions, timeout=patience([request]), away=self._away)
        return {node: readings.get(node, "") for node in nodes}


def _too_late(wanted: Object, changed: str, reason: str, found: str) -> str:
    if not changed:
        return f"waited {wanted.settle:g} s, but {reason}; {found}"
    where = f" on {changed}" if wanted.here else ""
    return f"still {wanted.settle:g} s after the change{where}: {reason}; {found}"


def _without_input(text: str, request: Request) -> str:
    """A message without the data from standard input, which may be secret and which programs quote in errors."""
    data = request.stdin if isinstance(request, Exec) else request.body if isinstance(request, Http) else b""
    for word in re.findall(rb"[^\s'\"]{6,}", data if isinstance(data, bytes) else b""):
        text = text.replace(word.decode(errors="replace"), "…")
    return text
