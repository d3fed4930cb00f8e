"""The way that tests cut."""

from __future__ import annotations

import asyncio

from tests.proxmox.relay import Relay


async def test_a_cut_breaks_a_connection_that_is_only_half_made() -> None:
    async def served(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"an answer")

    target = await asyncio.start_server(served, "127.0.0.1", 0)
    relay = Relay(target.sockets[0].getsockname()[1])
    await relay.start()
    reader, writer = await asyncio.open_connection(relay.address, relay.port)
    while not relay.connections:  # accepted; the relay's own connection to the target is still to come
        await asyncio.sleep(0)
    await relay.cut()
    try:
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    except ConnectionResetError:
        pass
    finally:
        writer.close()
        target.close()
