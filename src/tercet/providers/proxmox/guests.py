"""The desired and the present settings of a container on Proxmox, and their difference. All functions are pure.

A container is found by its tags, on any node of its server's cluster and with any VMID and name. Only the settings
listed here are compared. All others belong to the operator.

Containers are unprivileged: root in a container has no rights on the server, and a token may create it (privileged ones
need root). Everything that the platform needs works in them: systemd (with nesting, so that it can mount), nftables and
`ss -K` (the container owns its network namespace), and /dev/net/tun (passed in as a device).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tercet.converge.plan import Change
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.inventory.platform import Node, Role
from tercet.providers.proxmox.declaration import ProxmoxHost

TUN = "/dev/net/tun"
START_ORDER = {Role.CONTROL: 1, Role.DB: 2, Role.APPS: 3}
GIB = 1 << 30
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}
LIVE = frozenset({"cores", "hostname", "memory", "net0", "onboot", "startup", "swap", "tags"})
"""Settings that Proxmox applies to a running container (pve-container, LXC/Config.pm)."""


class ProxmoxKind(StrEnum):
    """The things that a plan changes on a Proxmox server, besides containers."""

    TEMPLATE = "template"
    DISK = "disk"
    SITE = "site"


def platform_tag(platform: str) -> str:
    """The tag of everything that belongs to a platform."""
    return f"tercet.{platform}"


def tags_of(platform: str, node: Node) -> frozenset[str]:
    """The tags by which a node's container is recognised."""
    return frozenset({platform_tag(platform), f"site.{node.site}", f"role.{node.role.value}"})


def split_tags(text: str) -> frozenset[str]:
    """The tags in Proxmox's notation: separated by semicolons (or commas or spaces in old configurations)."""
    return frozenset(text.replace(",", ";").replace(" ", ";").split(";")) - {""}


@dataclass(frozen=True, slots=True)
class Guest:
    """A container on Proxmox. `now` has the settings that it runs with, `next` those that apply from its next start."""

    vmid: int
    host: str  # the Proxmox node that it is on
    running: bool
    now: Mapping[str, str] = field(repr=False)
    next: Mapping[str, str] = field(repr=False)

    @property
    def tags(self) -> frozenset[str]:
        return split_tags(self.next.get("tags", ""))

    @property
    def disk(self) -> int:
        """The size of the root disk in bytes; 0 if Proxmox does not report it."""
        return size_bytes(properties(self.next.get("rootfs", "")).get("size", "0"))

    def volumes(self) -> tuple[str, ...]:
        """The volumes that are destroyed with the container."""
        keys = [key for key in self.next if key == "rootfs" or key.rstrip("0123456789") in ("mp", "unused")]
        values = (self.next[key].split(",")[0] for key in sorted(keys, key=lambda key: (key != "rootfs", key)))
        return tuple(value for value in values if not value.startswith("/"))


@dataclass(frozen=True, slots=True)
class GuestChange(Change):
    """A change of the plan, with everything needed to carry it out. `options` are the Proxmox settings to set."""

    site: str = ""
    node: str = ""
    vmid: int = 0
    options: tuple[tuple[str, str], ...] = ()


def guest(vmid: int, host: str, *, running: bool, pending: Iterable[Mapping[str, object]]) -> Guest:
    """A container from the response of its `pending` endpoint, which has the present and the pending values."""
    now: dict[str, str] = {}
    later: dict[str, str] = {}
    for item in pending:
        key = str(item.get("key", ""))
        if "value" in item:
            now[key] = later[key] = str(item["value"])
        if "pending" in item:
            later[key] = str(item["pending"])
        if item.get("delete"):
            later.pop(key, None)
    return Guest(vmid, host, running, now, later)


def settings(platform: str, node: Node, host: ProxmoxHost) -> dict[str, str]:
    """The settings of a node's container that tercet manages, except disk and device."""
    size = host.sizes[node.role]
    return {
        "hostname": node.name,
        "cores": str(size.cores),
        "memory": str(size.memory),
        "swap": "0",  # no swap: a database or an agent that swaps is slower than one that is restarted
        "onboot": "1",
        "startup": f"order={START_ORDER[node.role]}",
        "features": "nesting=1",
        "tags": ";".join(sorted(tags_of(platform, node))),
        "net0": network(node, host),
    }


def network(node: Node, host: ProxmoxHost) -> str:
    """The container's network interface."""
    address = host.addresses[node.role]
    parts = {"name": "eth0", "bridge": host.bridge, "ip": str(address) if address else "dhcp"}
    if address and host.gateway:
        parts["gw"] = str(host.gateway)
    if host.vlan is not None:
        parts["tag"] = str(host.vlan)
    parts["type"] = "veth"
    return ",".join(f"{key}={value}" for key, value in parts.items())


def creation(platform: str, node: Node, host: ProxmoxHost, template: str) -> dict[str, str]:
    """The parameters of a new container. VMID and device are added when it is made."""
    return {
        **settings(platform, node, host),
        "ostemplate": template,
        "storage": host.storage,
        "rootfs": f"{host.storage}:{host.sizes[node.role].disk}",
        "unprivileged": "1",
        "description": f"{node.role.value} of {node.site} in the platform {platform}. Managed by tercet, which "
        "finds it by its tags.",
    }


def changes(platform: str, node: Node, host: ProxmoxHost, found: Guest | None) -> Iterator[GuestChange]:
    """The changes that a container needs, in order. Raises TercetError if its disk would have to shrink."""
    target = Target(Kind.CONTAINER, node.name)
    if found is None:
        size = host.sizes[node.role]
        reason = (
            f"absent; {size.cores} cores, {size.memory} MiB memory, {size.disk} GiB disk on {host.storage} "
            f"of {host.node or host.site}"
        )
        yield GuestChange(Verb.CREATE, target, reason, site=host.site, node=node.name)
        return
    wanted = settings(platform, node, host)
    differing = {key: value for key, value in wanted.items() if not _same(key, found.next.get(key, ""), value)}
    options = {key: _merged(key, found.next.get(key, ""), value) for key, value in differing.items()}
    if (device := _free_device(found.next)) is not None:
        options[device] = TUN
    if options:
        reasons = [_reason(key, found, wanted.get(key, TUN)) for key in options]
        yield _change(Verb.UPDATE, target, "; ".join(reasons), node, found, options=tuple(options.items()))
    yield from _disk(node, host, found)
    if not found.running:
        yield _change(Verb.START, target, "stopped", node, found)
        return
    late = [key for key in options if key not in LIVE and not key.startswith("dev")]
    late += [key for key in wanted if key not in options and not _same(key, found.now.get(key, ""), wanted[key])]
    if device is None and _free_device(found.now) is not None:
        late.append("the device")
    if late:
        reason = f"{' and '.join(late)} {'take' if len(late) > 1 else 'takes'} effect when it starts"
        yield replace(_change(Verb.RESTART, target, reason, node, found), restarts=node.name)


def _change(
    verb: Verb, target: Target, reason: str, node: Node, found: Guest, *, options: tuple[tuple[str, str], ...] = ()
) -> GuestChange:
    return GuestChange(verb, target, reason, site=node.site, node=node.name, vmid=found.vmid, options=options)


def _disk(node: Node, host: ProxmoxHost, found: Guest) -> Iterator[GuestChange]:
    wanted = host.sizes[node.role].disk
    have = found.disk
    if have > wanted * GIB:
        raise TercetError(
            f"expected {node.name} to have a disk of at most {wanted} GiB as the inventory says, found {_gib(have)}: "
            f"a disk cannot shrink. Write `disk: {-(-have // GIB)}G` at `sizes`, or recreate the container"
        )
    if 0 < have < wanted * GIB:
        reason = f"disk is {_gib(have)}, wanted {wanted} GiB: applied at once, no restart"
        disk = Target(ProxmoxKind.DISK, node.name, text=f"disk of {node.name}")
        yield _change(Verb.GROW, disk, reason, node, found, options=(("size", f"{wanted}G"),))


def _reason(key: str, found: Guest, wanted: str) -> str:
    """Why a setting is changed, and when the change takes effect."""
    has = found.next.get(key)
    if key.startswith("dev"):
        return f"{TUN} is not passed in: applied at once from Proxmox 9 on, else when it starts"
    if key == "tags":
        text = f"tags {', '.join(sorted(split_tags(wanted) - found.tags))} missing"
    elif key == "hostname":
        text = f"renamed to {has}"
    else:
        text = f"{key} is {has if has is not None else 'not set'}, wanted {wanted}"
    if not found.running:
        return text
    return f"{text}: applied at once, no restart" if key in LIVE else f"{text}: applied by a restart"


def _same(key: str, has: str, wanted: str) -> bool:
    """Whether a setting has the desired value. Additions (a MAC address, other tags) belong to the operator."""
    match key:
        case "tags":
            return split_tags(wanted) <= split_tags(has)
        case "net0" | "features":
            return properties(wanted).items() <= properties(has).items() and not _leftover(key, has, wanted)
        case "startup":
            return properties(has).get("order", has) == properties(wanted)["order"]
        case "swap" | "onboot":
            return (has or ("512" if key == "swap" else "0")) == wanted
        case _:
            return has == wanted


def _leftover(key: str, has: str, wanted: str) -> bool:
    """Whether the interface has a gateway or VLAN that is no longer in the inventory."""
    return key == "net0" and any(name in properties(has) and name not in properties(wanted) for name in ("gw", "tag"))


def _merged(key: str, has: str, wanted: str) -> str:
    """The setting to write: the desired value, with the operator's additions."""
    match key:
        case "tags":
            return ";".join(sorted(split_tags(has) | split_tags(wanted)))
        case "net0" | "features" | "startup":
            kept = {name: value for name, value in properties(has).items() if name not in ("gw", "tag")}
            return ",".join(f"{name}={value}" for name, value in (kept | properties(wanted)).items())
        case _:
            return wanted


def _free_device(config: Mapping[str, str]) -> str | None:
    """The key of the first free device entry; None if /dev/net/tun is passed in already."""
    devices = {key: value for key, value in config.items() if key.startswith("dev") and key[3:].isdigit()}
    if any(value.split(",")[0].removeprefix("path=") == TUN for value in devices.values()):
        return None
    return next(f"dev{n}" for n in range(len(devices) + 1) if f"dev{n}" not in devices)


def properties(text: str) -> dict[str, str]:
    """The pairs of `a=1,b=2`, without words that have no key (a volume's name)."""
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def size_bytes(text: str) -> int:
    """The bytes of a size such as 8G, 512M or a plain number; 0 if it is malformed."""
    unit = _UNITS.get(text[-1:].upper(), 1)
    try:
        return int(float(text.rstrip("KMGTkmgt")) * unit)
    except ValueError:
        return 0


def _gib(size: int) -> str:
    return f"{size / GIB:g} GiB"
