"""Containers on paper: each is to be written, and none ever runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tercet.converge.events import Emit
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.host.lock import held
from tercet.image.build import Image
from tercet.inventory.platform import Platform
from tercet.providers.base import Faults, Provider, Survey
from tercet.providers.preflight import Check, ok
from tests.sample_provider.declaration import DECLARATION


class PaperFaults(Faults):
    """All that can be done to paper: nothing moves on it as it is."""

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        pass

    async def thaw(self, nodes: Sequence[str]) -> None:
        pass


class PaperProvider:
    """One platform's containers."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    @asynccontextmanager
    async def lock(self, who: str) -> AsyncIterator[None]:
        async with held(f"paper-{self._platform.name}", who):
            yield

    async def survey(self) -> Survey:
        nodes = self._platform.containers
        return Survey(tuple(Change(Verb.CREATE, Target(Kind.CONTAINER, node.name), "not written") for node in nodes))

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        raise TercetError("nothing runs on paper")

    async def destroy_plan(self) -> tuple[Change, ...]:
        return ()

    async def destroy(self, emit: Emit) -> None:
        pass

    async def preflight(self) -> tuple[Check, ...]:
        return (ok("all", "paper", f"{self._platform.settings.of(DECLARATION).sheets} sheets"),)

    def neighbour(self, site: str) -> AbstractAsyncContextManager[Sequence[str]]:
        raise NotImplementedError(site)

    async def close(self) -> None:
        pass

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        raise Unreachable(f"{node} is paper")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        raise Unreachable(f"{node} is paper")

    async def shell(self, node: str, argv: Sequence[str] = ()) -> list[str]:
        raise Unreachable(f"{node} is paper")

    @property
    def faults(self) -> PaperFaults:
        return PaperFaults()


def opened(platform: Platform, image: Image | None, known_hosts: Path) -> Provider:
    return PaperProvider(platform)
