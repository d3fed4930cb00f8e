"""Sets up and removes the lab's network: namespace, bridges, delays. Every action is idempotent."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.providers.lab import cuts, wan, wan_emulator
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, remove
from tercet.providers.lab.layout import Layout, Link, Network
from tercet.providers.lab.namespace import inside, is_namespace

ROUTER = text_of(__package__, "network-router.sh")
PROBE = text_of(__package__, "network-probe.sh")


class LabNetwork:
    """The network of one lab."""

    def __init__(self, layout: Layout, cgroups: Cgroups) -> None:
        self._layout = layout
        self._cgroups = cgroups

    async def raise_namespace(self) -> None:
        """Make the namespace, with forwarding and the table of cuts. A broken namespace is replaced."""
        name = self._layout.namespace
        doing = f"raise namespace {name}"
        if not is_namespace(name):
            await self.remove_namespace()
            await command(["ip", "netns", "add", name], doing=doing)
        await command(inside(name, ["sh", "-c", ROUTER]), doing=doing)
        await command(inside(name, ["nft", "-f", "-"]), stdin=cuts.table(), doing=doing)

    async def remove_namespace(self) -> None:
        """Remove the namespace; the kernel removes its bridges and tables. Does nothing if it does not exist."""
        name = self._layout.namespace
        if has_name(name):
            await command(["ip", "netns", "delete", name], doing=f"remove namespace {name}")

    async def raise_bridge(self, network: Network) -> None:
        """Make the bridge of a network, with the router's address and no other address."""
        doing = f"raise network {network.name}"
        script = 'ip link show dev "$0" >/dev/null 2>&1 || exec ip link add name "$0" type bridge mcast_snooping 0'
        await self._inside(["sh", "-c", script, network.bridge], doing)
        batch = (
            f"address flush dev {network.bridge} scope global\n"
            f"address add {network.router} dev {network.bridge}\n"
            f"link set {network.bridge} address {network.mac} up\n"
        )
        await self._inside(["ip", "-batch", "-"], doing, batch)

    async def remove_bridge(self, bridge: str) -> None:
        await self._inside(
            ["sh", "-c", '! ip link show dev "$0" 2>/dev/null || ip link delete "$0"', bridge], "remove bridge"
        )

    async def plug(self, port: str, network: Network) -> None:
        """Attach a container's network device to its bridge again."""
        await self._inside(["ip", "link", "set", port, "master", network.bridge, "up"], f"plug {port} in")

    async def unplug(self, ports: Sequence[str]) -> None:
        """Detach the containers' network devices, all at once. From then on, no packet leaves these containers."""
        batch = "".join(f"link set {port} down\n" for port in ports)
        await self._inside(["ip", "-batch", "-"], "take cables down", batch)

    async def nft(self, script: str, doing: str) -> None:
        """Run one transaction of nftables in the lab's namespace."""
        await self._inside(["nft", "-f", "-"], doing, script)

    async def set_delays(self, links: Sequence[Link]) -> None:
        """Set the delay of every link, and remove all other delays. Containers and connections stay. For a few
        milliseconds between two steps, packets are not delayed.
        """
        doing = "set the delays between sites"
        await self.end_emulator(self._cgroups.wan)
        bridges = " ".join(network.bridge for network in self._layout.networks)
        clear = f"for b in {bridges}; do tc qdisc delete dev $b root 2>/dev/null; done; true"
        await self._inside(["sh", "-c", clear], doing)
        netem = bool(links) and await self._has_netem()
        await self.nft(wan.table(links, netem=netem), doing)
        if netem:
            await self._inside(["tc", "-batch", "-"], doing, wan.tc_commands(links))
        elif links:
            await self.emulate(self._cgroups.wan, wan.emulator_arguments(links), "start the WAN emulator")

    async def _has_netem(self) -> bool:
        """Whether the kernel has netem. Tries it on a temporary device, because there is no other way to find out."""
        return "netem" in await self._inside(["sh", "-c", PROBE], "try netem")

    async def emulate(self, group: Path, arguments: Sequence[str], doing: str) -> None:
        """Start an emulator in this control group, after ending any that runs there. It goes into the background by
        itself once it listens on every queue.
        """
        await self.end_emulator(group)
        group.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - the kernel's own file system
        join = f'echo 0 > "{group}/cgroup.procs" && exec "$@"'
        program = [sys.executable, "-I", "-S", wan_emulator.__file__, *arguments]
        await self._inside(["sh", "-c", join, "sh", *program], doing)

    async def end_emulator(self, group: Path) -> None:
        """End the emulator in this control group, if one runs."""
        kill(group)
        if not await emptied(group, 5.0):
            raise TercetError("the WAN emulator does not die within 5 s; see `dmesg`")
        remove(group)

    async def _inside(self, argv: Sequence[str], doing: str, stdin: str = "") -> str:
        return await command(inside(self._layout.namespace, argv), stdin=stdin, doing=doing)


def has_name(namespace: str) -> bool:
    return Path("/run/netns", namespace).exists()


def require_root() -> None:
    """Raise TercetError unless this process has the privileges that the lab needs."""
    if os.geteuid() != 0:
        raise TercetError("the lab makes containers and networks, which needs root; run this with sudo")
