"""A program at the other end of an SSH channel, with the interface of a local process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

import asyncssh


def as_process(process: asyncssh.SSHClientProcess[bytes]) -> asyncio.subprocess.Process:
    """The process with the part of a local process's interface that converge/fleet.py uses."""
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
        """The exit status; -1 if the connection was lost before the program ended."""
        with contextlib.suppress(asyncssh.Error):
            await self._process.wait_closed()
        code = self._process.returncode
        return -1 if code is None else code

    def terminate(self) -> None:
        """Close the channel. The supervisor on the node then ends the program."""
        self._process.close()

    def kill(self) -> None:
        self._process.close()


class Input:
    """The writing end of standard input. A lost connection appears as a broken pipe."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the next drain reports it
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
        """End standard input. Output can still arrive."""
        if not self._writer.is_closing():
            self._writer.write_eof()

    def is_closing(self) -> bool:
        return self._writer.is_closing()


class Output:
    """The reading end of an output. A lost connection appears as the end of the output."""

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
