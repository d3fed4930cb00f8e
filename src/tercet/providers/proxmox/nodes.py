"""Runs programs on nodes: through the Proxmox server (`pct exec`), or over SSH to the node if the inventory says so.

SSH to a node is set up through `pct exec`, which installs the operator's public key and reads the node's host keys. So
no host key is trusted on first use. If a node does not answer directly, programs run through the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncssh

from tercet.converge.fleet import Completed, Unreachable, brief
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.providers.proxmox.pct import gone, in_container
from tercet.providers.proxmox.site import Listed, SiteServer
from tercet.remote.hostkeys import GivenKeys
from tercet.remote.limits import fenced, limited, refused, supervised
from tercet.remote.login import SshLogin
from tercet.remote.process import as_process
from tercet.remote.publickeys import public_keys
from tercet.remote.ssh import SshServer

INTRODUCTION_TIMEOUT = 30.0  # seconds; the node creates its host keys when its sshd first starts
KNOWN_S = 60.0  # seconds for which a container's location is cached; later, its VMID may belong to another container
DIRECT_TIMEOUT = 4.0  # seconds for a node to accept a connection over the tailnet
ASK_AGAIN = 60.0  # seconds until a node that did not answer directly is tried again

INTRODUCE = text_of(__package__, "nodes-introduce.sh")


@dataclass
class Nodes:
    """The nodes of a platform. A container's location is cached for KNOWN_S, or until `forget`.

    While the platform's lock is held, `term` is set, and programs are fenced (nodeside/fence.py).
    """

    platform: Platform
    sites: Mapping[str, SiteServer]
    places: dict[str, Listed] = field(default_factory=dict)
    term: int | None = None
    _finding: dict[str, asyncio.Lock] = field(default_factory=dict, repr=False)
    _listed: dict[str, float] = field(default_factory=dict, repr=False)  # when each site's containers were last listed
    _direct: dict[str, SshServer] = field(default_factory=dict, repr=False)
    _silent: dict[str, float] = field(default_factory=dict, repr=False)  # when a direct connection last failed

    def forget(self) -> None:
        """Forget the locations of all containers."""
        self.places.clear()

    def take(self, site: str, located: Mapping[str, Listed]) -> None:
        """Replace the known locations of the site's containers."""
        for node in self.sites[site].nodes:
            self.places.pop(node.name, None)
        self.places |= located
        self._listed[site] = time.monotonic()

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """See converge/fleet.py."""
        said: str | None = ""
        try:
            async with asyncio.timeout(timeout):
                words = limited(fenced(argv, self.term), timeout)
                if (direct := await self._directly(node)) is not None:
                    return _started(await direct.run(direct.command(words), stdin=stdin, timeout=timeout))
                for _ in range(2):
                    item, server = await self.located(node)
                    command = server.command(in_container(item.vmid, words))
                    done = await server.run(command, stdin=stdin, timeout=timeout)
                    said = gone(done)
                    if said is None:
                        return _started(done)
                    self.places.pop(node, None)  # it moved to another server, or stopped
        except TimeoutError:
            shown = brief(" ".join(argv))
            raise Unreachable(f"{node}: `{shown}` did not end within {timeout:g} s and was killed") from None
        except TercetError as error:
            raise Unreachable(f"{node}: {error}") from error
        raise Unreachable(f"{node}: {said}; `tercet up` starts it")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """See converge/fleet.py."""
        words = supervised(fenced(argv, self.term))
        try:
            if (direct := await self._directly(node)) is not None:
                return as_process(await direct.spawn(direct.command(words)))
            item, server = await self.located(node)
            return as_process(await server.spawn(server.command(in_container(item.vmid, words))))
        except TercetError as error:
            raise Unreachable(f"{node}: {error}") from error

    async def located(self, node: str) -> tuple[Listed, SshServer]:
        """The location of a node's container, and the SSH connection to its server. Raises TercetError if the
        container does not run.
        """
        name = self.platform.node(node).site
        site = self.sites[name]
        async with self._finding.setdefault(name, asyncio.Lock()):
            if node not in self.places or time.monotonic() > self._listed[name] + KNOWN_S:
                try:
                    self.take(name, await site.located())
                except Unreachable:
                    if node not in self.places:
                        raise
                    self._listed[name] = time.monotonic()  # perhaps only the API is down: try the last location
        item = self.places.get(node)
        if item is None:
            raise Unreachable("there is no such container; `tercet up` makes it")
        if not item.running:
            self.places.pop(node, None)
            raise Unreachable("the container does not run; `tercet up` starts it")
        return item, await site.ssh(item.host)

    async def close(self) -> None:
        """Close the connections to nodes. Those to servers belong to their sites."""
        for server in self._direct.values():
            await server.close()
        self._direct.clear()

    # ------------------------------------------------------------------------------------ SSH to a node itself

    async def _directly(self, node: str) -> SshServer | None:
        """SSH to the node itself; None if the inventory does not enable it, or if the node does not answer."""
        site = self.sites[self.platform.node(node).site]
        if site.host.reach == "host" or time.monotonic() < self._silent.get(node, -ASK_AGAIN) + ASK_AGAIN:
            return None
        async with self._finding.setdefault(node, asyncio.Lock()):
            try:
                if node not in self._direct:
                    self._direct[node] = await self._introduced(node, site.host.ssh)
                async with asyncio.timeout(DIRECT_TIMEOUT):
                    await self._direct[node].connection()
            except (TercetError, TimeoutError):
                self._direct.pop(node, None)
                self._silent[node] = time.monotonic()
                return None
        return self._direct[node]

    async def _introduced(self, node: str, operator: SshLogin) -> SshServer:
        """Install the operator's keys on the node, and read its address and host keys, through its server."""
        item, server = await self.located(node)
        words = limited(("sh", "-c", INTRODUCE), INTRODUCTION_TIMEOUT)
        keys = "".join(f"{key}\n" for key in await public_keys(operator))
        done = await server.run(
            server.command(in_container(item.vmid, words)), stdin=keys.encode(), timeout=INTRODUCTION_TIMEOUT
        )
        lines = done.stdout.decode(errors="replace").splitlines()
        if done.status != 0 or len(lines) < 2:
            raise Unreachable(f"{node} is not in the tailnet yet")
        given = GivenKeys(node, tuple(asyncssh.import_public_key(line) for line in lines[1:]))
        return SshServer(node, SshLogin(lines[0], 22, "root", operator.key, None), given)


def _started(done: Completed) -> Completed:
    """The result. Raises TercetError if the fence refused to start the program."""
    if (said := refused(done)) is not None:
        raise TercetError(f"{said}. Nothing was done; run the command again")
    return done
