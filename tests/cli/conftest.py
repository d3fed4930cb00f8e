"""Commands as an operator calls them, on a platform that is in memory: no container, no network, no image."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.image.build import Image
from tercet.inventory import load as loading
from tercet.inventory.platform import Platform
from tercet.providers.base import Survey
from tercet.session import session as opening

CONTAINER = Change(Verb.CREATE, Target(Kind.CONTAINER, "db-sib-01"), "absent")


@dataclass
class Memory:
    """A provider that remembers what it was asked for. Its nodes do not answer."""

    changes: tuple[Change, ...] = ()
    away: dict[str, str] = field(default_factory=dict)
    made: tuple[Change, ...] = ()  # what `down` would destroy
    done: list[str] = field(default_factory=list)
    closed: int = 0

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        self.done.append(f"lock: {who.rpartition(': ')[2]}")
        try:
            yield
        finally:
            self.done.append("unlock")

    async def survey(self) -> Survey:
        self.done.append("survey")
        return Survey(self.changes, frozenset(), self.away)

    async def destroy_plan(self) -> tuple[Change, ...]:
        return self.made

    async def destroy(self, emit: Emit) -> None:
        self.done.append("destroy")
        emit(Event("containers", "done", "all removed"))

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        raise Unreachable(f"{node}: no answer")

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        return ["enter", node, *argv]

    async def close(self) -> None:
        self.closed += 1


@dataclass
class Tool:
    """`tercet` in a folder with the default inventory, and the platform that it opens."""

    provider: Memory
    capsys: pytest.CaptureFixture[str]
    opened: list[tuple[Path, str]] = field(default_factory=list)  # inventory, --lab's provider

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """The exit status, standard output and standard error of a command line."""
        status = main(words)
        out, err = self.capsys.readouterr()
        return status, out, err


@pytest.fixture
def tool(inventory_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    made = Tool(Memory(), capsys)

    def load(file: Path, *, provider: str) -> Platform:
        made.opened.append((file, provider))
        return loading.load(file, provider=provider)

    monkeypatch.chdir(inventory_file.parent)
    monkeypatch.setattr(opening, "load", load)
    monkeypatch.setattr(opening, "find_image", lambda *_: Image("test", Path(), (), "pgpool", ""))
    monkeypatch.setattr(opening, "components", lambda _context: ())
    monkeypatch.setattr(opening, "open_provider", lambda *_: made.provider)
    return made
