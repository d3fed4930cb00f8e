"""The load of all sites together. If the node of a load died, the load is started again when the node is back."""

from __future__ import annotations

import asyncio
import time

from tercet.converge.fleet import Unreachable
from tercet.drills import journal
from tercet.drills.run.load import Bounds, LoadError, LoadSettings, LoadTarget, SiteLoad, writers_of
from tercet.drills.run.questions import conninfo
from tercet.drills.scenario.model import LoadModel
from tercet.inventory.platform import Role
from tercet.session.session import Session

AGAIN_S = 0.5  # seconds between two attempts to start a load again


class Loads:
    """The loads run by themselves from `start` until `stop`."""

    def __init__(self, session: Session, table: str, asked: LoadModel, seconds: float) -> None:
        """`seconds` is the time limit of each load, from its start."""
        self._session, self._table, self._seconds = session, table, seconds
        self._settings = LoadSettings(
            asked.writes, asked.reads, asked.transactions, asked.deadline, connect_timeout=asked.deadline
        )
        self._sites: list[SiteLoad] = []
        self._began = 0.0
        self._over = False

    async def start(self, tasks: asyncio.TaskGroup, book: journal.Journal, began: float) -> None:
        """Start the load of every site, and for each a task in `tasks` that keeps it running."""
        session, self._began = self._session, began
        writers = writers_of(tuple(site.name for site in session.platform.sites))
        for node in session.platform.of(Role.APPS):
            target = LoadTarget(node.site, node.name, conninfo(session.platform), self._table, writers)
            self._sites.append(SiteLoad(target, book, began))
        async with asyncio.TaskGroup() as starting:
            for load in self._sites:
                starting.create_task(self._start(load))
        for load in self._sites:
            tasks.create_task(self._keep(load))

    async def _start(self, load: SiteLoad) -> None:
        await load.start(self._session.provider, self._settings, self._seconds)

    async def _keep(self, load: SiteLoad) -> None:
        """Follow a site's load. If its node died, start the load again as soon as the node is back."""
        await load.follow()
        while not self._over:
            try:
                await self._start(load)
            except (LoadError, Unreachable):
                await asyncio.sleep(AGAIN_S)  # the end of the drill is the deadline
                continue
            if self._over:
                await load.stop()  # the drill ended while the load started, and stopped it
            await load.follow()

    async def steady(self, limit: float) -> str:
        """Wait until every site writes and reads, for at most `limit` seconds. Returns "", or the workers that
        do not.
        """
        ends = time.monotonic() + limit
        while True:
            now = time.time() - self._began
            late = [
                f"{worker} at {load.target.site}"
                for load in self._sites
                for worker in ("writer", "reader")
                if now - load.succeeded.get(worker, float("-inf")) > 1.0
            ]
            if not late or time.monotonic() > ends:
                return ", ".join(late)
            await asyncio.sleep(0.2)

    def turn(self, book: journal.Journal, began: float) -> Bounds:
        """Switch to another journal. Returns by writer the first and last number of the writes in the journal
        before.
        """
        self._began = began
        return {writer: bounds for load in self._sites for writer, bounds in load.turn(book, began).items()}

    async def stop(self) -> None:
        """End all loads permanently."""
        self._over = True
        await asyncio.gather(*(load.stop() for load in self._sites))
