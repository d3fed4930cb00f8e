"""What was moved aside, as the nodes say it; a node that does not say is no node without."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tercet.converge.component import Readings
from tercet.converge.fleet import Completed
from tercet.converge.requests import Answer
from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role
from tercet.operations import aside
from tercet.session.session import Session

NAME = "tercet.aside-20261126T162300Z-timeline-3"
KEPT = {"name": NAME, "path": f"/d/{NAME}", "bytes": 5, "moved": 1_795_000_000, "reason": "no WAL"}


class Nodes:
    """Database nodes of which db-fsn-01 has moved data aside."""

    def __init__(self, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        said = {node.name: {"aside": Answer(0, "{}")} for node in platform.of(Role.DB)}
        said["db-fsn-01"] = {"aside": Answer(0, json.dumps({"free_percent": 50, "aside": [KEPT]}))}
        self.readings = Readings(said)
        self.removed: list[tuple[str, Sequence[str]]] = []
        self.completed = Completed(0, b"", b"")
        self.session = cast(
            Session, SimpleNamespace(platform=platform, context=SimpleNamespace(platform=platform), provider=self)
        )

        async def ask(*_: Any, **__: Any) -> Readings:
            return self.readings

        monkeypatch.setattr(aside, "ask", ask)

    @asynccontextmanager
    async def lock(self, _who: str) -> AsyncIterator[None]:
        yield

    async def run(self, node: str, argv: Sequence[str], *, timeout: float) -> Completed:
        self.removed.append((node, argv))
        return self.completed


@pytest.fixture
def nodes(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(platform, monkeypatch)


async def test_a_name_that_is_not_there_is_refused_with_those_that_are(nodes: Nodes) -> None:
    with pytest.raises(TercetError, match=f"there are no files x moved aside on db-fsn-01: expected one of {NAME}"):
        await aside.find(nodes.session, "db-fsn-01", "x")
    with pytest.raises(TercetError, match="nothing was moved aside on db-sib-01"):
        await aside.find(nodes.session, "db-sib-01", NAME)


@pytest.mark.parametrize(
    ("answers", "silent", "why"),
    [({}, {"db-sib-03": "db-sib-03: stopped"}, "db-sib-03: stopped"), ({"aside": Answer(1, "boom")}, {}, "1: boom")],
)
async def test_a_node_that_does_not_say_is_not_passed_over(
    nodes: Nodes, platform: Platform, answers: dict[str, Answer], silent: dict[str, str], why: str
) -> None:
    said = {node.name: {"aside": Answer(0, "{}")} for node in platform.of(Role.DB)} | {"db-sib-03": answers}
    nodes.readings = Readings(said, silent)
    with pytest.raises(TercetError, match=why):
        await aside.listed(nodes.session)


async def test_it_is_removed_on_its_node_by_its_name(nodes: Nodes) -> None:
    await aside.remove(nodes.session, await aside.find(nodes.session, "db-fsn-01", NAME))
    [(node, argv)] = nodes.removed
    assert node == "db-fsn-01" and argv[-2:] == ("remove", NAME) and "--reuid=postgres" in argv


async def test_a_removal_that_fails_says_why(nodes: Nodes) -> None:
    found = await aside.find(nodes.session, "db-fsn-01", NAME)
    nodes.completed = Completed(1, b"", b"it stays: PostgreSQL runs in it\n")
    with pytest.raises(TercetError, match=f"/d/{NAME} to be removed from db-fsn-01, found: it stays: PostgreSQL runs"):
        await aside.remove(nodes.session, found)
