"""One operator at a time: a lock on the servers themselves, held by an SSH session with regular heartbeats.

On each server, a program takes a `flock` and runs as long as it receives heartbeats from the holder. The lock is
released at once when the holder ends, and SILENCE seconds after the holder's machine or network has failed. A majority
of the servers must grant the lock, so two operators never hold it at the same time, and a site that is down does not
matter. A holder that loses the majority while it works is stopped: it notices a lost connection before the lock on that
server is released.

The lock alone is not enough. A holder that was suspended or cut off may have left programs on nodes, which may run for
minutes, and its requests may arrive after another operator has taken the lock. So each grant has a term, which is
passed to every program on a node.

Invariant: when the first program of a holder runs on a node, no program of an earlier holder runs there, and none can
start any more. So what a holder finds on a node is not changed by another operator. The reasons:
- Terms grow. Each server stores on its disk the highest term that was granted there. A new term is higher than those of
  a majority, and a majority has stored it before it is used. Two majorities have a server in common.
- nodeside/fence.py on the node refuses a program with a lower term than it has seen. Before it starts the first program
  with a higher term, it ends the earlier ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from tercet.converge.fleet import Unreachable
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.remote.ssh import SshServer

SILENCE = 60  # seconds without a heartbeat after which the lock is released
BEAT = 15.0  # seconds between heartbeats
ANSWER = 20.0  # seconds for a server to grant or refuse

Connect = Callable[[], Awaitable[SshServer]]
"""Returns a server. Raises Unreachable if it cannot be found."""

Holder = asyncssh.SSHClientProcess[bytes]
"""The program on a server that holds the lock as long as it runs."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The lock on one server, and the highest term that this server knew."""

    server: str
    process: Holder
    known: int


SCRIPT = text_of(__package__, "lock.sh", SILENCE=SILENCE)


@asynccontextmanager
async def held(servers: Sequence[Connect], platform: str, who: str) -> AsyncIterator[int]:
    """Hold the platform's lock on these servers. Yields the term. If another operator holds it, the TercetError names
    that holder.
    """
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    note = f"{who} since {since}"
    async with contextlib.AsyncExitStack() as stack:
        granted: dict[tuple[str, int], Grant] = {}  # by SSH address, because a server that is named twice has one lock
        silent = []
        for connect in servers:  # in the same order for all operators, so that one of two gets all locks
            try:
                server = await connect()
                place = (server.at.host, server.at.port)
                if place not in granted:
                    granted[place] = await stack.enter_async_context(_held_on(server, platform, note))
            except Unreachable as error:
                silent.append(str(error))
        total = len(granted) + len(silent)
        if len(granted) * 2 <= total:
            raise TercetError(
                f"expected to lock the platform {platform} on most of its {total} servers, found only "
                f"{len(granted)} reachable:\n  " + "\n  ".join(silent) + "\n  Nothing was changed"
            )
        # At least the current time: reinstalled servers have lost their terms, which nodes may still know.
        term = max(int(time.time()), *(grant.known + 1 for grant in granted.values()))
        for grant in granted.values():
            await _keep(grant, term)
        async with _while_most([grant.process for grant in granted.values()], total, platform):
            yield term


@asynccontextmanager
async def _while_most(granted: Iterable[Holder], total: int, platform: str) -> AsyncIterator[None]:
    """Run the body while a majority of the servers holds the lock. If the majority is lost, cancel the body and raise a
    TercetError instead.
    """
    left = set(granted)
    try:
        async with asyncio.timeout(None) as until:

            async def watch(process: Holder) -> None:
                await process.wait_closed()
                left.discard(process)
                if len(left) * 2 <= total:
                    until.reschedule(asyncio.get_running_loop().time())

            watching = [asyncio.create_task(watch(process)) for process in left]
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
    except TimeoutError:
        if not until.expired():
            raise
        raise TercetError(
            f"expected to hold the lock of the platform {platform} on most of its {total} servers until the end, found "
            f"it on {len(left)} of them: the connections to the others broke. Another operator may have it now, so the "
            "work was stopped where it was; what was begun on nodes ends there, or is ended by who has the lock next. "
            "Run the command again"
        ) from None


@asynccontextmanager
async def _held_on(server: SshServer, platform: str, note: str) -> AsyncIterator[Grant]:
    process = await server.spawn(server.command(("bash", "-c", SCRIPT, "tercet-lock", platform, note)))
    try:
        answer = await _line(process, server.name)
        if answer == "refused":
            holder = (await process.stdout.read()).decode(errors="replace").strip()
            raise TercetError(
                f"the platform is being changed by {holder or 'another process'} (lock on {server.name}). Wait until "
                f"it is done, or end it; the lock of a holder that vanished is free after {SILENCE} s"
            )
        granted, _, known = answer.partition(" ")
        if granted != "granted" or not known.isdigit():
            said = (await process.stderr.read()).decode(errors="replace").strip()
            raise TercetError(
                f"expected {server.name} to take the platform's lock, found: {said or answer or 'nothing'}"
            )
        beat = asyncio.create_task(_beat(process))
        try:
            yield Grant(server.name, process, int(known))
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
    finally:
        process.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error):
            async with asyncio.timeout(5):
                await process.wait_closed()


async def _line(process: Holder, server: str) -> str:
    """The program's next line. Raises Unreachable if it does not come in time."""
    try:
        async with asyncio.timeout(ANSWER):
            return (await process.stdout.readline()).decode(errors="replace").strip()
    except (TimeoutError, asyncssh.Error):
        raise Unreachable(f"{server}: no answer to the lock within {ANSWER:g} s") from None


async def _keep(grant: Grant, term: int) -> None:
    """Have the server store the term on its disk, before it is sent to any node."""
    grant.process.stdin.write(f"{term}\n".encode())
    if (answer := await _line(grant.process, grant.server)) != f"kept {term}":
        said = (await grant.process.stderr.read()).decode(errors="replace").strip()
        raise TercetError(
            f"expected {grant.server} to keep the lock's number in /var/lib/tercet/terms, found: "
            f"{said or answer or 'nothing'}. Nothing was changed"
        )


async def _beat(process: Holder) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while True:
            process.stdin.write(b"\n")
            await asyncio.sleep(BEAT)
