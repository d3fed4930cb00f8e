"""The LXC configuration of one container: rendered from the layout, and parsed.

A container keeps the image that it was created from; the programs on it are updated in place. So the line with the
image's path is not compared. A container gets its own disk only at creation, because a disk that is mounted later would
hide the data.
"""

from __future__ import annotations

from pathlib import Path

from tercet.errors import TercetError
from tercet.providers.lab.cgroup import BASE
from tercet.providers.lab.disk import mount_command
from tercet.providers.lab.layout import LABS, Container, Layout

ROOTFS = "lxc.rootfs.path"
DISK = "lxc.hook.mount"
# The nodes share the machine's few cores. A Go program starts a thread for every core and wakes one for every packet.
# With a single thread each, the forty Go programs of a lab use an eighth less CPU (docs/lab.md).
INIT = "/sbin/init systemd.setenv=GOMAXPROCS=1"


def config_text(layout: Layout, container: Container, rootfs: Path, *, disk: bool) -> str:
    """The whole file. `rootfs` is the image's tree, the read-only lower layer of the container's root. `disk` tells
    whether the container's data is on its own disk.
    """
    if ":" in str(rootfs):
        raise TercetError(f"the image's path {rootfs} contains a colon, which overlay paths cannot; move the cache")
    folder = layout.folder(container.name)
    network = container.network
    lines = (
        ("lxc.uts.name", container.name),
        (ROOTFS, f"overlay:{rootfs}:{folder}/upper"),
        # /proc/sys and /sys belong to the host's kernel. Only the part for the container's own network is writable.
        ("lxc.mount.auto", "proc:mixed sys:mixed cgroup:rw"),
        ("lxc.mount.entry", "/dev/net/tun dev/net/tun none bind,create=file 0 0"),
        # Version 1 of hooks: LXC adds no arguments to the command.
        *((("lxc.hook.version", "1"), (DISK, mount_command(layout.disk(container.name)))) if disk else ()),
        ("lxc.cgroup.dir.container", f"{BASE}/{layout.platform}/nodes/{container.name}"),
        ("lxc.cgroup.dir.monitor", f"{BASE}/{layout.platform}/monitors/{container.name}"),
        ("lxc.init.cmd", INIT),
        ("lxc.net.0.type", "veth"),
        ("lxc.net.0.link", network.bridge),
        ("lxc.net.0.name", "eth0"),
        ("lxc.net.0.hwaddr", container.mac),
        ("lxc.net.0.veth.pair", container.port),
        ("lxc.net.0.flags", "up"),
        ("lxc.net.0.ipv4.address", f"{container.address}/{network.subnet.prefixlen}"),
        ("lxc.net.0.ipv4.gateway", str(network.gateway)),
        ("lxc.apparmor.profile", "unconfined"),
        # A container shares the host's kernel, so it must not set the clock, load modules, …
        ("lxc.cap.drop", "mac_admin mac_override sys_module sys_rawio sys_time"),
        ("lxc.autodev", "1"),
        ("lxc.tty.max", "0"),
        ("lxc.pty.max", "1024"),
    )
    return "".join(f"{key} = {value}\n" for key, value in lines)


def parse(text: str) -> dict[str, str]:
    """The values by key. If a key occurs twice, the last value counts."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def image_of(text: str) -> Path | None:
    """The image that this configuration uses; None if it does not name one."""
    parts = parse(text).get(ROOTFS, "").split(":")
    return Path(parts[1]) if len(parts) == 3 and parts[0] == "overlay" else None


def has_disk(text: str) -> bool:
    """Whether the configuration mounts a disk for this container."""
    return DISK in parse(text)


def differences(found: str, wanted: str) -> str:
    """The differences for a line of the plan: the first two keys with both values, and the number of the others."""
    if found == wanted:
        return ""
    have, want = parse(found), parse(wanted)
    keys = [key for key in (*want, *(key for key in have if key not in want)) if have.get(key) != want.get(key)]
    shown = [f"{key} is {have.get(key, 'absent')}, wanted {want.get(key, 'none')}" for key in keys[:2]]
    more = [f"and {len(keys) - 2} more"] if len(keys) > 2 else []
    return "; ".join([*shown, *more]) or "lines were added or reordered"


def images_in_use() -> frozenset[Path]:
    """The images that containers of any lab on this machine use. They must stay in the cache."""
    images = (image_of(path.read_text()) for path in LABS.glob("*/*/config"))
    return frozenset(image for image in images if image)
