"""One operator at a time: a lock on the servers themselves, held by an SSH session that shows signs of life.

On each server a `flock` is taken by a program that lives as long as it hears from the holder. It is therefore free
at once when the holder ends, and SILENCE seconds after the holder's machine or network went away. The majority of
the servers must grant it, so that two operators can never both have it, and a site that is down does not matter.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
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
        granted, silent = 0, []
        for site in sites:  # in the inventory's order, so that of two operators one gets all
            try:
                server = await site.ssh()
                await stack.enter_async_context(_held_on(server, platform, note))
                granted += 1
            except Unreachable as error:
                silent.append(str(error))
        if granted * 2 <= len(sites):
            raise TercetError(
                f"expected to lock the platform {platform} on most of its {len(sites)} servers, found only "
                f"{granted} reachable:\n  " + "\n  ".join(silent) + "\n  Nothing was changed"
            )
        yield


@asynccontextmanager
async def _held_on(server: SshServer, platform: str, note: str) -> AsyncIterator[None]:
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
            yield
        finally:
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
    finally:
        process.close()
        with contextlib.suppress(TimeoutError, asyncssh.Error):
            async with asyncio.timeout(5):
                await process.wait_closed()


async def _beat(process: asyncssh.SSHClientProcess[bytes]) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while True:
            process.stdin.write(b"\n")
            await asyncio.sleep(BEAT)
