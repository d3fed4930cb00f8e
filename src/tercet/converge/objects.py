"""Changing state inside a running program until its probe agrees."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace

from tercet.converge.fleet import Fleet
from tercet.converge.late import Kitchen
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Exec, Late, Request, patience
from tercet.converge.resources import Object
from tercet.errors import TercetError

RETRY_S = 0.5


class Objects:
    """Brings objects about on the nodes of `fleet`. `may_go_on` raises where nothing new may be started."""

    def __init__(self, fleet: Fleet, kitchen: Kitchen, may_go_on: Callable[[], None]) -> None:
        self._fleet = fleet
        self._kitchen = kitchen
        self._may_go_on = may_go_on

    async def bring_about(self, wanted: Object, node: str) -> bool:
        """Change an object until `differs` is None; False if it was from the start, so that nothing was done.

        A change that fails is tried again for `settle` seconds, as what holds the object may still be starting.
        Raises TercetError with the reason and the last answer.
        """
        attempts, problem, ends = 0, "", 0.0
        while (reason := wanted.differs(answer := await self._answer(node, wanted.probe))) is not None:
            if attempts and time.monotonic() >= ends:
                found = f"the change failed: {problem}" if problem else f"the answer was: {answer.why()}"
                raise TercetError(f"still {wanted.settle:g} s after the change: {reason}; {found}")
            if attempts:
                await asyncio.sleep(RETRY_S)
            if problem or not attempts:
                problem = await self._change(wanted, node)
                attempts += 1
                if attempts == 1 or not problem:
                    ends = time.monotonic() + wanted.settle
        return attempts > 0

    async def _change(self, wanted: Object, node: str) -> str:
        """Send the object's requests, if its `permit` lets us. What went wrong, or ""."""
        if wanted.permit:
            answers = {other: await self._answer(other, request) for other, request in wanted.needs}
            if refusal := wanted.permit(answers):
                raise TercetError(f"not changed: {refusal}")
        for request in wanted.change:
            ready = request
            if isinstance(request, Exec) and isinstance(request.stdin, Late):
                ready = replace(request, stdin=await self._kitchen.render(request.stdin, shared=False))
            answer = await self._answer(node, ready)
            if not answer.ok:
                return _without_input(answer.why(), ready)
        return ""

    async def _answer(self, node: str, request: Request) -> Answer:
        self._may_go_on()
        readings = await ask(self._fleet, {node: {"": request}}, timeout=patience([request]))
        return readings.get(node, "")


def _without_input(text: str, request: Request) -> str:
    """A message without what went in on standard input: it may hold secrets, and programs quote it in errors."""
    data = request.stdin if isinstance(request, Exec) else request.body
    for word in re.findall(rb"[^\s'\"]{6,}", data if isinstance(data, bytes) else b""):
        text = text.replace(word.decode(errors="replace"), "…")
    return text
