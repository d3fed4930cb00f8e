"""A platform is healthy when all of it holds at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tercet.converge.component import Condition, Passing, State, Waiting
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.requests import Request
from tercet.inventory.platform import Node
from tercet.session.session import Session


class Told:
    """A component whose conditions say one thing after another: "" where they hold."""

    def __init__(self, **said: list[str]) -> None:
        self._said = said

    def questions(self, node: Node) -> Mapping[str, Request]:
        return {}

    def healthy(self) -> Iterable[Condition]:
        for title, said in self._said.items():
            yield Condition(title, lambda _, said=said: self._state(said.pop(0)), ())  # type: ignore[misc]

    @staticmethod
    def _state(reason: str) -> State:
        return Waiting(reason) if reason else Passing()


class Nobody:
    async def run(self, node: str, argv: object, **_: object) -> Completed:
        raise Unreachable(f"{node}: nobody is there")


def of(opened: Session, component: Told) -> Session:
    return replace(opened, provider=Nobody(), components=(component,))  # type: ignore[arg-type]


async def test_a_platform_is_healthy_when_all_holds_in_the_same_look(opened: Session) -> None:
    said: list[str] = []
    component = Told(first=["", "gone again", "", ""], second=["not yet", "", "", ""])
    session = of(opened, component)
    wrong = await session.healthy(60, None, lambda condition, state: said.append(f"{condition.title}: {state.reason}"))
    assert wrong == ""
    assert said == ["second: not yet", "first: gone again"]


async def test_what_does_not_hold_at_the_deadline_is_told(opened: Session) -> None:
    assert await of(opened, Told(first=[""], second=["never"])).healthy(0) == "second: never"
