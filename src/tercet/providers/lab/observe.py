"""The current state of a lab, read from the kernel and from the containers' folders.

One process is started, for the state inside the lab's network namespace. Everything else is read from files. This takes
about 30 ms for ten containers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.host.command import command
from tercet.inventory.providers import Capability
from tercet.providers.lab import cuts, wan, weak
from tercet.providers.lab.cgroup import Cgroups, pids, read
from tercet.providers.lab.config import image_of
from tercet.providers.lab.layout import Layout
from tercet.providers.lab.namespace import inside, is_namespace
from tercet.providers.lab.throttle import Throttle

WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
MARK = "--tercet--"
LOOK = text_of(__package__, "observe-network.sh", MARK=MARK)


@dataclass(frozen=True, slots=True)
class Device:
    """A network device in the lab's namespace. `addresses` have the form ADDRESS/PREFIX; `master` is its bridge."""

    addresses: tuple[str, ...]
    mac: str
    up: bool
    master: str


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The lab's namespace. `delays` has the microseconds and `cut` the seconds left, both by pair of subnets. `weak`
    has the seconds left, by kind of fault and number of the network.
    """

    forwarding: bool
    devices: Mapping[str, Device]
    delays: Mapping[wan.Pair, int]
    cuts_ready: bool
    cut: Mapping[wan.Pair, float]
    emulator: bool
    weak: Mapping[tuple[Capability, int], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container. `config` is None if it was never made. `init` is the host's process ID of its PID 1 while it runs.
    `slow` tells whether a drill slows its disk.
    """

    config: str | None
    image_exists: bool = False
    disk_exists: bool = False
    init: int | None = None
    frozen: bool = False
    slow: bool = False
    addresses: frozenset[IPv4Address] = frozenset()
    gateway: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole lab. `network` is None if the namespace does not exist. `watchers` is the host's limit WATCHERS."""

    network: NetworkState | None
    containers: Mapping[str, ContainerState]
    watchers: int


async def observe(layout: Layout, cgroups: Cgroups) -> Observed:
    """Read the state of the whole lab once."""
    network = await observe_network(layout, cgroups)
    return Observed(network, observe_containers(layout, cgroups), int(read(WATCHERS)))


async def observe_network(layout: Layout, cgroups: Cgroups) -> NetworkState | None:
    """The namespace; None if it does not exist, or if only an empty file is left after a reboot."""
    name = layout.namespace
    if not is_namespace(name):
        return None
    text = await command(inside(name, ["sh", "-c", LOOK]), doing=f"look into namespace {name}")
    return parse_network(text.split(MARK + "\n"), emulator_command(cgroups), layout)


def parse_network(parts: list[str], emulator: tuple[str, ...], layout: Layout) -> NetworkState:
    """Parse the five outputs of LOOK and the emulator's command line, which is empty if no emulator runs."""
    addresses, rules, qdiscs, forwarding, queues = parts
    try:
        ruleset = json.loads(rules)["nftables"]
        devices = {entry["ifname"]: device(entry) for entry in json.loads(addresses)}
    except (ValueError, KeyError, TypeError) as error:
        raise TercetError(
            f"ip or nft printed what the lab cannot read ({error!r}); are iproute2 and nftables installed?"
        ) from error
    bound = {int(line.split()[0]) for line in queues.splitlines() if line.strip()}
    lanes = {lane: micros for lane, micros in wan.parse_arguments(emulator).items() if lane in bound}
    state = wan.WanState(wan.parse_table(ruleset), lanes, wan.parse_qdiscs(qdiscs))
    return NetworkState(
        forwarding=forwarding.strip() == "1",
        devices=devices,
        delays=wan.delays(state, layout.networks),
        cuts_ready=cuts.present(ruleset),
        cut=cuts.parse(ruleset),
        emulator=bool(lanes),
        weak=weak.parse(ruleset),
    )


def device(entry: Mapping[str, Any]) -> Device:
    """One entry of `ip -j address show`."""
    addresses = tuple(f"{a['local']}/{a['prefixlen']}" for a in entry["addr_info"] if a["family"] == "inet")
    return Device(addresses, entry["address"], "UP" in entry["flags"], entry.get("master", ""))


def emulator_command(cgroups: Cgroups) -> tuple[str, ...]:
    """The command line of the running emulator; empty if none runs or if it is stopped."""
    for pid in pids(cgroups.wan):
        state = read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        if state and state[0] in "RSD":
            return tuple(read(Path(f"/proc/{pid}/cmdline")).split("\0"))
    return ()


def observe_containers(layout: Layout, cgroups: Cgroups) -> dict[str, ContainerState]:
    """Every container that has a folder or a process, whether or not it is in the inventory."""
    folders = {path.parent.name for path in layout.directory.glob("*/config")}
    return {name: observe_container(layout, cgroups, name) for name in sorted(folders | set(cgroups.names("nodes")))}


def observe_container(layout: Layout, cgroups: Cgroups, name: str) -> ContainerState:
    """One container's folder, its process, and the network inside it."""
    file = layout.folder(name) / "config"
    text = file.read_text() if file.exists() else None
    image = image_of(text) if text else None
    image_exists, disk_exists = image is not None and image.is_dir(), layout.disk(name).exists()
    init = cgroups.init(name)
    if init is None:
        return ContainerState(text, image_exists, disk_exists)
    return ContainerState(
        text,
        image_exists,
        disk_exists,
        init=init,
        frozen=cgroups.frozen(name),
        slow=Throttle(cgroups, layout.platform).slowed(name),
        addresses=parse_fib(read(Path(f"/proc/{init}/net/fib_trie"))),
        gateway=parse_gateway(read(Path(f"/proc/{init}/net/route"))),
    )


def parse_fib(text: str) -> frozenset[IPv4Address]:
    """The local addresses in /proc/PID/net/fib_trie."""
    return frozenset(IPv4Address(found) for found in re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", text))


def parse_gateway(text: str) -> IPv4Address | None:
    """The default gateway on eth0 in /proc/PID/net/route, which writes addresses as little-endian hex."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[0] == "eth0" and fields[1] == "00000000" and fields[7] == "00000000":
            return IPv4Address(int.from_bytes(bytes.fromhex(fields[2]), "little"))
    return None
