"""What a component promises beyond its health: conditions that `verify` alone judges.

They take time to come true, or cost a question that `status` and the gates of `apply` should not ask each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tercet.converge.component import Condition
from tercet.converge.requests import Request


@dataclass(frozen=True, slots=True)
class Proof:
    """`asked` are questions by node, besides the component's own."""

    conditions: tuple[Condition, ...] = ()
    asked: Mapping[str, Mapping[str, Request]] = field(default_factory=dict)
