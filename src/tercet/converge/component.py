"""Defines components and conditions.

A component is a class that says, in pure functions, what its nodes must have and what must be true of the running
platform. The engine knows nothing else about it. docs/architecture.md says how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tercet.converge.requests import NO_ANSWER, Answer, Request
from tercet.converge.resources import Resource
from tercet.inventory.platform import Node


@dataclass(frozen=True, slots=True)
class Passing:
    """The condition holds. `detail` is a fact worth showing, such as who leads."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The condition does not hold (yet). `reason` says what was found instead."""

    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The condition cannot be judged now, because it is about a node that is away. Nothing waits for it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deviating:
    """The condition does not hold, which is a known deviation of the software in use. It is shown with a remedy;
    nothing waits for it and nothing fails.
    """

    reason: str


State = Passing | Waiting | Skipped | Deviating


class Readings:
    """The answers from one poll of the platform, by node and question. A missing answer is NO_ANSWER.

    `away` has the nodes that are known to be unreachable: they were not asked, and conditions are judged without them.
    """

    def __init__(
        self,
        answers: Mapping[str, Mapping[str, Answer]],
        silent: Mapping[str, str] | None = None,
        away: frozenset[str] = frozenset(),
    ) -> None:
        self._answers = answers
        self._silent = silent or {}
        self.away = away

    def get(self, node: str, question: str) -> Answer:
        return self._answers.get(node, {}).get(question, NO_ANSWER)

    def present(self, nodes: Iterable[str]) -> list[str]:
        """The `nodes` that are not away. A condition about nodes applies only to these."""
        return [node for node in nodes if node not in self.away]

    def reachable(self, node: str) -> bool:
        """Whether the node answered."""
        return node in self._answers

    def silence(self, node: str) -> str:
        """The reason why the node did not answer, as far as it is known; "" if it answered."""
        return self._silent.get(node, "")


@dataclass(frozen=True, slots=True)
class Condition:
    """A statement about the platform's health, judged from readings alone.

    Gates, verify, drills and status all use it. `units` names the (node, systemd unit) pairs whose state and
    journal explain a failure.
    """

    title: str
    check: Callable[[Readings], State]
    units: tuple[tuple[str, str], ...] = ()


class Component(Protocol):
    """One component of the platform."""

    @property
    def name(self) -> str: ...

    @property
    def after(self) -> tuple[str, ...]:
        """The components whose conditions must pass before this one is changed."""
        ...

    def desired(self, node: Node) -> Iterable[Resource]:
        """The resources of this component on this node, in the order in which they must be made: a directory before its
        files, a unit after all paths that it reads, an object after the unit that holds it. (Units that must not run
        are stopped first.) Empty if the node has no part in the component.
        """
        ...

    def questions(self, node: Node) -> Mapping[str, Request]:
        """The questions to this node for `healthy` and for the status, by a name that is unique on the platform."""
        ...

    def healthy(self) -> Iterable[Condition]:
        """The gate that ends this component's phase."""
        ...
