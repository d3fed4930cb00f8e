"""Progress events as values. The terminal, JSON lines and the journal are views of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """`phase` is a component or "image", "containers", "verify"; `state` one of started, progress, done, failed.

    `seconds` is the time since the phase started. `fraction` is 0..1 if progress can be measured, otherwise None.
    """

    phase: str
    state: str
    text: str
    node: str = ""
    seconds: float = 0.0
    fraction: float | None = None


Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """For callers that want no events."""
