"""Runs asynchronous work from a command so that it can clean up, however it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
STOPPING = (signal.SIGTERM, signal.SIGHUP)


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, but SIGTERM and a closed terminal cancel the work as Ctrl-C does.

    After the work has cleaned up, raises SystemExit(128 + signal), or KeyboardInterrupt after Ctrl-C.
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
