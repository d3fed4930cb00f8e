"""A neighbour: a network namespace on a site's bridge that is no node, as another guest of the same server would be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tercet.errors import TercetError
from tercet.host.command import command
from tercet.host.process import running
from tercet.providers.lab.layout import Layout, host
from tercet.providers.lab.namespace import inside

NUMBER = 99  # its address in the site's network
CABLE = "neighbour"  # the bridge's end of it
# With the last process in it, the kernel removes a namespace, and both ends of its cable.
HOLD = "ip link set lo up && echo && exec sleep infinity"
BEGIN_S = 10.0


@asynccontextmanager
async def neighbour(layout: Layout, site: str) -> AsyncIterator[Sequence[str]]:
    """See providers/base.py."""
    network, doing = layout.network(site), f"make a neighbour at {site}"
    async with running("unshare", "--net", "sh", "-c", HOLD, stdout=asyncio.subprocess.PIPE) as holder:
        try:
            async with asyncio.timeout(BEGIN_S):
                begun = await holder.stdout.readline() if holder.stdout else b""
        except TimeoutError:
            begun = b""
        if not begun:
            raise TercetError(f"{doing}: expected a network namespace within {BEGIN_S:g} s, found none")
        here = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        address = f"{host(network, NUMBER)}/{network.subnet.prefixlen}"
        cable = f"link add {CABLE} type veth peer eth0 netns {holder.pid}\n"
        cable += f"link set {CABLE} master {network.bridge} up\n"
        own = f"address add {address} dev eth0\nlink set eth0 up\nroute add default via {network.gateway}\n"
        await command(inside(layout.namespace, ["ip", "-batch", "-"]), stdin=cable, doing=doing)
        await command([*here, "ip", "-batch", "-"], stdin=own, doing=doing)
        yield here
