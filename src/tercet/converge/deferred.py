"""Renders content that is known only when the platform runs, right before it is needed."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from tercet.converge.fleet import Fleet
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Deferred, Request, patience
from tercet.errors import TercetError

DEADLINE_S = 120.0  # the slowest wait is for a node's login to the tailnet: 45 s, or twice that after a failure
INTERVAL_S = 0.5


class Resolver:
    """Renders deferred content for one `apply`; nodes that are `away` are not asked.

    All nodes often need the same answers at the same time, such as the addresses of all nodes, so they share one poll.

    Invariant: rendering never blocks the event loop, because the provider's lock is kept alive there. Rendering may ask
    a password manager, which asks its user. Only one content is rendered at a time, so a cached secret is asked for
    once.
    """

    def __init__(self, fleet: Fleet, may_go_on: Callable[[], None], away: frozenset[str]) -> None:
        self._fleet = fleet
        self._may_go_on = may_go_on
        self._away = away
        self._locks: defaultdict[frozenset[tuple[str, Request]], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._answers: dict[frozenset[tuple[str, Request]], tuple[float, dict[str, Answer]]] = {}
        self._rendering = asyncio.Lock()

    async def render(self, content: Deferred, *, shared: bool, deadline: float = DEADLINE_S) -> bytes:
        """The bytes, after waiting for at most `deadline` seconds. `shared` is False if each request has its own
        effect, such as a new key for a single use. Raises TercetError that says what was missing.
        """
        ends = time.monotonic() + deadline
        while True:
            self._may_go_on()
            answers = await (self._shared(content.needs) if shared else self._ask(content.needs))
            try:
                async with self._rendering:
                    return await asyncio.to_thread(content.render, answers)
            except LookupError as error:
                if time.monotonic() >= ends:
                    raise TercetError(f"waited {deadline:g} s until {content.why}, but {error.args[0]}") from None
            await asyncio.sleep(INTERVAL_S)

    async def _ask(self, needs: Mapping[str, Request]) -> dict[str, Answer]:
        questions = {node: {"need": request} for node, request in needs.items() if node not in self._away}
        readings = await ask(self._fleet, questions, timeout=patience(needs.values()))
        return {node: readings.get(node, "need") for node in questions}

    async def _shared(self, needs: Mapping[str, Request]) -> dict[str, Answer]:
        key = frozenset(needs.items())
        async with self._locks[key]:
            asked, answers = self._answers.get(key, (-INTERVAL_S, {}))
            if time.monotonic() - asked >= INTERVAL_S:
                answers = await self._ask(needs)
                self._answers[key] = time.monotonic(), answers
            return answers
