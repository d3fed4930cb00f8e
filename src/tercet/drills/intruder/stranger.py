"""A device of the platform's own tailnet (headscale) that is no node: it has another tag."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tercet.components.headscale.component import HEADSCALE, world_address
from tercet.components.headscale.declaration import AUTHORITY, HOSTNAME
from tercet.converge.observe import ask
from tercet.converge.requests import Exec
from tercet.datafile import text_of
from tercet.drills.intruder.attempt import ASK_S
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.host.process import running
from tercet.inventory.platform import Role
from tercet.session.session import Session

NAME = "tercet-stranger"
# One that headscale forgets by itself if it is not removed.
KEY = text_of(__package__, "stranger-key.sh", HEADSCALE=HEADSCALE, TAG=f"tag:{NAME}")
FORGET = text_of(__package__, "stranger-forget.sh", HEADSCALE=HEADSCALE, NAME=NAME)
JOIN_S = 60.0
# Runs the words in a mount namespace with another /etc/hosts, the first argument.
WITH_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
WHEN_READY = 'until [ -S "$0" ]; do sleep 0.1; done; exec "$@"'


@asynccontextmanager
async def joined(session: Session, here: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """The device joins in the network namespace into which the words `here` lead, and is forgotten at the end: the
    words of its `tailscale`. Raises TercetError if it cannot join.
    """
    context = session.context
    [tailscaled], [tailscale] = context.program("tailscaled"), context.program("tailscale")
    key = await _on_world(session, KEY)
    with TemporaryDirectory() as name:
        folder = Path(name)
        hosts, way, authority = folder / "hosts", folder / "tailscaled.sock", folder / "control.pem"
        hosts.write_text(f"127.0.0.1 localhost\n{world_address(context)} {HOSTNAME}\n")
        authority.write_text(context.secrets.pair(AUTHORITY).certificate)
        daemon = [str(tailscaled.source), "--tun=tailscale0", "--state=mem:", f"--socket={way}", "--no-logs-no-support"]
        argv = [*here, "unshare", "--mount", "sh", "-c", WITH_HOSTS, str(hosts), *daemon]
        environment = os.environ | {"SSL_CERT_FILE": str(authority)}
        quiet = asyncio.subprocess.DEVNULL
        try:
            async with running(*argv, stdout=quiet, stderr=quiet, env=environment):
                words = [*here, str(tailscale.source), f"--socket={way}"]
                up = ["up", f"--login-server=https://{HOSTNAME}", "--auth-key=file:/dev/stdin", f"--hostname={NAME}"]
                up += ["--accept-dns=false", "--netfilter-mode=off", f"--timeout={JOIN_S:g}s"]
                join = ["sh", "-c", WHEN_READY, str(way), *words, *up]
                await command(join, stdin=key, doing="join the tailnet with another tag", timeout=JOIN_S + 10)
                yield words
        finally:
            await _on_world(session, FORGET)


async def seen(tailscale: Sequence[str]) -> set[str]:
    """The addresses of the devices that a device of the tailnet knows."""
    said = await command([*tailscale, "status", "--json"], doing="ask which devices it sees")
    peers = json.loads(said)["Peer"] or {}
    return {address for peer in peers.values() for address in peer["TailscaleIPs"]}


async def _on_world(session: Session, script: str) -> str:
    world = session.platform.of(Role.WORLD)[0].name
    request = Exec(("sh", "-c", script), timeout=30)
    answer = (await ask(session.provider, {world: {"it": request}}, timeout=ASK_S)).get(world, "it")
    if not answer.ok:
        raise TercetError(f"expected headscale to admit a device, and to forget it, found: {answer.why()}")
    return answer.text.strip()
