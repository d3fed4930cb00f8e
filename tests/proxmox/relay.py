"""A TCP relay on loopback that stands for the way to a server: it adds a delay, and can be cut."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Forwards connections to `target` on loopback, each chunk `delay` seconds later, both ways."""

    def __init__(self, target: int, address: str = "127.0.0.1", port: int = 0, delay: float = 0.0) -> None:
        self.target = target
        self.delay = delay
        self.address, self.port = address, port
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._relay, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection, also those half made, and refuse new ones, until `start`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server = self._server
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, other_writer}
        if server is None or server is not self._server:  # it was cut meanwhile, when this was not yet in `_open`
            for end in ends:
                end.transport.abort()
            return
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, other_writer))
                group.create_task(self._forward(other_reader, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Chunks are held back without holding up those that follow: a delay, not a lower rate."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=4096)

        async def send() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    sink.write_eof()
                    return
                sink.write(data)
                await sink.drain()

        sending = asyncio.create_task(send())
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await queue.put((loop.time() + self.delay, data))
        await queue.put((loop.time() + self.delay, b""))
        with contextlib.suppress(OSError, RuntimeError):
            await sending
