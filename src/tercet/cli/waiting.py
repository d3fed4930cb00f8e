"""Run asynchronous work from a command, so that every way of stopping it lets it clean up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
STOPPING = (signal.SIGTERM, signal.SIGHUP)


def wait(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, where SIGTERM and a closed terminal cancel the work as Ctrl-C does.

    Raises SystemExit(128 + signal) after that clean-up, KeyboardInterrupt after Ctrl-C.
    """
    received: list[signal.Signals] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: signal.Signals) -> None:
            received.append(number)
            if task:
                task.cancel()

        for number in STOPPING:
            loop.add_signal_handler(number, stop, number)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
