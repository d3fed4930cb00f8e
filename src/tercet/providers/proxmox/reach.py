"""Programs in containers: `pct exec` on the server, or SSH to the node itself once it is in the tailnet.

Invariant: a program that is given up ends. Inside the container it runs under `timeout`, so that it ends even
where neither the server nor this machine is there any more to end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import asyncssh

from tercet.converge.fleet import Completed
from tercet.nodeside import fence, supervise

ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
FENCE = ("/run/tercet/fence", "/var/lib/tercet/term")  # where fence.py has its locks on a node, and keeps the term
GRACE = 3.0  # seconds that a spawned program has to end by itself once its input ended
KILL_AFTER = 1.0  # seconds between SIGTERM and SIGKILL of a program whose time is up
# What pct itself says, with status 255 or 2, of a container that is gone. Programs say such things too, and psql
# with the same status: only pct's own words count, for what ran must not be run again.
NOT_THERE = re.compile(r"container '\d+' not running!|Configuration file 'nodes/\S+/lxc/\d+\.conf' does not exist")


def clean(argv: Sequence[str]) -> tuple[str, ...]:
    """With an environment of the container's own, since `pct exec` would pass on the server's."""
    return ("env", "-i", *ENVIRONMENT, *argv)


def limited(argv: Sequence[str], timeout: float) -> tuple[str, ...]:
    """Ended on the node itself a little after the time that this machine waits."""
    return clean(("timeout", "-k", f"{KILL_AFTER:g}", f"{timeout + KILL_AFTER:g}", *argv))


def leashed(argv: Sequence[str]) -> tuple[str, ...]:
    """Ended on the node itself when its standard input ends."""
    return clean(("python3", "-I", "-S", "-c", Path(supervise.__file__).read_text(), f"{GRACE:g}", *argv))


def fenced(argv: Sequence[str], term: int | None) -> tuple[str, ...]:
    """As a program of the lock's holder, if `term` is given: refused on the node once a later holder was there."""
    if term is None:
        return tuple(argv)
    return ("python3", "-I", "-S", "-c", Path(fence.__file__).read_text(), *FENCE, str(term), *argv)


def refused(done: Completed) -> str | None:
    """What the fence said if it did not start the program."""
    said = done.stderr.decode(errors="replace").strip()
    return said if done.status == fence.REFUSED and said.startswith(fence.OVER) else None


def in_container(vmid: int, argv: Sequence[str]) -> tuple[str, ...]:
    """The server's command for a program in a container."""
    return ("pct", "exec", str(vmid), "--", *argv)


def gone(done: Completed) -> str | None:
    """What pct said if the container does not run on that server; None if the program ran."""
    if done.status not in (2, 255):
        return None
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].strip()
    return last if NOT_THERE.fullmatch(last) else None


def as_process(process: asyncssh.SSHClientProcess[bytes]) -> asyncio.subprocess.Process:
    """A remote program with the interface of a local one, as far as converge/fleet.py promises it."""
    return cast(asyncio.subprocess.Process, RemoteProcess(process))


class RemoteProcess:
    """Pipes, `wait`, `terminate`, `kill` and `returncode` of a program at the other end of an SSH channel."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process
        self.stdin = Input(process.stdin)
        self.stdout = Output(process.stdout)
        self.stderr = Output(process.stderr)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        """The exit status; -1 where the connection broke first."""
        with contextlib.suppress(asyncssh.Error):
            await self._process.wait_closed()
        code = self._process.returncode
        return -1 if code is None else code

    def terminate(self) -> None:
        """Close the channel: the supervisor on the node then ends the program."""
        self._process.close()

    def kill(self) -> None:
        self._process.close()


class Input:
    """The writing end of standard input. A broken connection is a broken pipe."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next drain tells
            self._writer.write(data)

    async def drain(self) -> None:
        try:
            if self._writer.is_closing():
                raise BrokenPipeError("the program's standard input is closed")
            await self._writer.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(str(error)) from None

    def write_eof(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        """Standard input ends; output still comes in."""
        if not self._writer.is_closing():
            self._writer.write_eof()

    def is_closing(self) -> bool:
        return self._writer.is_closing()


class Output:
    """The reading end of an output. A broken connection is its end."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader

    async def read(self, size: int = -1) -> bytes:
        try:
            return await self._reader.read(size)
        except asyncssh.Error:
            return b""

    async def readline(self) -> bytes:
        try:
            return await self._reader.readline()
        except asyncssh.Error:
            return b""

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    def __aiter__(self) -> Output:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line
