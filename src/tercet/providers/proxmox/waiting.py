"""Waits for several results at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from tercet.errors import TercetError

T = TypeVar("T")


async def together(work: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T]:
    """All results by name. Failures are raised together, after all have ended."""
    results = await asyncio.gather(*work.values(), return_exceptions=True)
    found: dict[str, T] = {}
    failures: list[TercetError] = []
    for name, result in zip(work, results, strict=True):
        match result:
            case TercetError():
                failures.append(result)
            case BaseException():
                raise result
            case _:
                found[name] = result
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise TercetError("\n".join(str(failure) for failure in failures))
    return found
