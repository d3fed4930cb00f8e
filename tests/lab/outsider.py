"""An outsider: a network namespace on a site's bridge, as another guest of the same server would be.

It is in no tailnet, unless it joins one as a device that is no node of the platform.

What it tries is bounded: one connection to each port of each address, all within seconds, inside the lab's network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

from tercet.providers.lab.layout import Layout, host

NUMBER = 99  # its address in the site's network
# Connects to every port of every address, 200 at a time; prints those that accept or refuse: both are answers.
KNOCK = """
import asyncio, json, sys

async def knock(address, port, turn):
    async with turn:
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(address, port, local_addr=(sys.argv[1], 0))
        except TimeoutError:
            return None
        except OSError as error:
            return [address, port, error.strerror]
        writer.close()
        return [address, port, "open"]

async def main():
    turn = asyncio.Semaphore(200)
    doors = json.load(sys.stdin)
    found = await asyncio.gather(*(knock(address, port, turn) for address, port in doors))
    print(json.dumps([each for each in found if each]))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Tailnet:
    """What a device needs to join: the programs, the control server's name, address and authority, and a key."""

    tailscaled: Path
    tailscale: Path
    server: str
    address: str
    authority: str
    key: str


class Outsider:
    """Lives as long as the context."""

    def __init__(self, layout: Layout, site: str) -> None:
        self._network = layout.network(site)
        self._lab = ["ip", "netns", "exec", layout.namespace]
        self.address: IPv4Address = host(self._network, NUMBER)

    def __enter__(self) -> Outsider:
        script = "ip link set lo up; echo; exec sleep 600"
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        pid, prefix = self._holder.pid, self._network.subnet.prefixlen
        self._run([*self._lab, "ip", "link", "add", "outsider", "type", "veth", "peer", "eth0", "netns", str(pid)])
        self._run([*self._lab, "ip", "link", "set", "outsider", "master", self._network.bridge, "up"])
        self._here("ip", "address", "add", f"{self.address}/{prefix}", "dev", "eth0")
        self._here("ip", "link", "set", "eth0", "up")
        self._here("ip", "route", "add", "default", "via", str(self._network.gateway))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._holder.kill()  # the kernel removes the namespace, and both ends of its cable
        self._holder.communicate()

    def route(self, routes: Mapping[str, str]) -> None:
        """Send what is for each of these addresses to the node with that address on the bridge."""
        for address, gateway in routes.items():
            self._here("ip", "route", "replace", address, "via", gateway)

    def claim(self, address: str) -> None:
        """Take an address that belongs to somebody else."""
        self._here("ip", "address", "replace", f"{address}/32", "dev", "lo")

    def knock(self, doors: Iterable[tuple[str, int]], source: str = "0.0.0.0") -> list[str]:
        """The doors that answer, each as "ADDRESS:PORT open" or with the error."""
        answered = json.loads(self._here(sys.executable, "-c", KNOCK, source, stdin=json.dumps([*doors])))
        return [f"{address}:{port} {said}" for address, port, said in answered]

    @contextmanager
    def joined(self, tailnet: Tailnet, folder: Path) -> Iterator[list[str]]:
        """A device of the tailnet for as long as the context lasts; the command line of its `tailscale`."""
        (folder / "ca").mkdir()
        (folder / "ca" / "control.pem").write_text(tailnet.authority)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{tailnet.address} {tailnet.server}\n")
        inside = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]
        named = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(folder / "hosts")]
        way = f"--socket={folder / 'tailscaled.sock'}"
        options = ["--tun=tailscale0", "--state=mem:", way, "--no-logs-no-support"]
        with (folder / "tailscaled.log").open("w") as log:
            daemon = subprocess.Popen(
                [*inside, *named, str(tailnet.tailscaled), *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"SSL_CERT_DIR": str(folder / "ca")},
            )
        tailscale = [*inside, str(tailnet.tailscale), way]
        try:
            join = [f"--login-server=https://{tailnet.server}", "--auth-key=file:/dev/stdin", "--hostname=stranger"]
            wait = ["sh", "-c", 'until [ -S "$0" ]; do sleep 0.1; done; exec "$@"', str(folder / "tailscaled.sock")]
            up = ["up", *join, "--accept-dns=false", "--netfilter-mode=off", "--timeout=60s"]
            self._run([*wait, *tailscale, *up], tailnet.key)
            yield tailscale
        finally:
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(10)

    def _here(self, *argv: str, stdin: str = "") -> str:
        return self._run(["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv], stdin)

    @staticmethod
    def _run(argv: list[str], stdin: str = "") -> str:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=True).stdout
