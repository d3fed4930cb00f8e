"""Progress of one component as events: what it does, for how long, and how much is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tercet.converge.events import Emit, Event

BEAT = 3.0  # seconds between two events of a long step


class Progress:
    """Emits events of one part of building the image, in the phase "image/NAME"."""

    def __init__(self, name: str, emit: Emit) -> None:
        self.name = name
        self._emit = emit
        self._started = time.monotonic()

    def say(self, text: str, fraction: float | None = None, state: str = "progress") -> None:
        seconds = time.monotonic() - self._started
        self._emit(Event(f"image/{self.name}", state, f"{self.name}: {text}", "", seconds, fraction))


@asynccontextmanager
async def beating(beat: Callable[[], None], every: float = BEAT) -> AsyncIterator[None]:
    """Call `beat` now and every `every` seconds until the block ends."""

    async def keep() -> None:
        while True:
            beat()
            await asyncio.sleep(every)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
