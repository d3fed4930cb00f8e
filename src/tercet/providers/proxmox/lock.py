"""One operator at a time: a lock on the servers themselves, held by an SSH session that shows signs of life.

On each server a `flock` is taken by a program that lives as long as it hears from the holder. It is therefore free
at once when the holder ends, and SILENCE seconds after the holder's machine or network went away. The majority of
the servers must grant it, so that two operators can never both have it, and a site that is down does not matter.
Who loses the majority while working is stopped: a connection that is gone is noticed before its lock is free.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncssh

from tercet.converge.fleet import Unreachable
from tercet.errors import TercetError
from tercet.providers.proxmox.site import Site
from tercet.providers.proxmox.ssh import SshServer

SILENCE = 60  # seconds without a sign of life after which the lock is free
BEAT = 15.0  # seconds between signs of life
ANSWER = 20.0  # seconds for a server to grant or refuse

Holder = asyncssh.SSHClientProcess[bytes]
"""The program on a server that has the lock as long as it lives."""

# $1 names the platform, $2 the holder. The note stays readable by others while the lock is held.
SCRIPT = r"""
file=/run/lock/tercet-$1.lock
exec 9>>"$file" || exit 1
if ! flock -n 9; then
    echo refused; cat "$file"; exit 0
fi
printf '%s\n' "$2" > "$file"
echo granted
while IFS= read -r -t SILENCE beat; do :; done
: > "$file"
""".replace("SILENCE", str(SILENCE))


@asynccontextmanager
async def held(sites: Sequence[Site], platform: str, who: str) -> AsyncIterator[None]:
    """Hold the platform's lock. TercetError names the holder where another has it."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    note = f"{who} since {since}"
    async with contextlib.AsyncExitStack() as stack:
        granted: dict[tuple[str, int], Holder] = {}  # by SSH address: two sites on one server have one lock
        silent = []
        for site in sites:  # in the inventory's order, so that of two operators one gets all
            try:
                server = await site.ssh()
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
        async with _while_most(granted.values(), total, platform):
            yield


@asynccontextmanager
async def _while_most(granted: Iterable[Holder], total: int, platform: str) -> AsyncIterator[None]:
    """Run the body as long as most servers hold the lock; then cancel it, and raise a TercetError in its place."""
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
            "work was stopped where it was; what was begun on the servers may go on. Run the command again"
        ) from None


@asynccontextmanager
async def _held_on(server: SshServer, platform: str, note: str) -> AsyncIterator[Holder]:
    process = await server.spawn(server.command(("bash", "-c", SCRIPT, "tercet-lock", platform, note)))
    try:
        try:
            async with asyncio.timeout(ANSWER):
                answer = (await process.stdout.readline()).decode(errors="replace").strip()
                holder = "" if answer == "granted" else (await process.stdout.read()).decode(errors="replace").strip()
        except (TimeoutError, asyncssh.Error):
            raise Unreachable(f"{server.name}: no answer to the lock within {ANSWER:g} s") from None
        if answer == "refused":
            raise TercetError(
                f"the platform is being changed by {holder or 'another process'} (lock on {server.name}). Wait until "
                f"it is done, or end it; the lock of a holder that vanished is free after {SILENCE} s"
            )
        if answer != "granted":
            said = (await process.stderr.read()).decode(errors="replace").strip()
            raise TercetError(
                f"expected {server.name} to take the platform's lock, found: {said or answer or 'nothing'}"
            )
        beat = asyncio.create_task(_beat(process))
        try:
            yield process
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
    finally:
        process.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error):
            async with asyncio.timeout(5):
                await process.wait_closed()


async def _beat(process: Holder) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while True:
            process.stdin.write(b"\n")
            await asyncio.sleep(BEAT)
