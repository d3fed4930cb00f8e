"""The LXC configuration of one container: rendered from the layout, and parsed.

Root in the container is nobody on this machine (rootfs.py, which also reads this configuration).

A container keeps the image that it was created from; the programs on it are updated in place. So the line with the
image's path is not compared. A container gets its own disk only at creation, because a disk that is mounted later would
hide the data.
"""

from __future__ import annotations

from pathlib import Path

from tercet.providers.lab.cgroup import BASE
from tercet.providers.lab.layout import LABS, Container, Layout
from tercet.providers.lab.rootfs import DEVICES, DISK, FIRST_ID, IDS, IMAGE, ROOTFS

# The nodes share the machine's few cores. A Go program starts a thread for every core and wakes one for every packet.
# With a single thread each, the forty Go programs of a lab use an eighth less CPU (docs/lab.md).
INIT = "/sbin/init systemd.setenv=GOMAXPROCS=1"


def config_text(layout: Layout, container: Container, image: Path, *, disk: bool) -> str:
    """The whole file. `image` is the image's tree, the read-only lower layer of the container's root. `disk` tells
    whether the container's data is on its own disk.
    """
    folder = layout.folder(container.name)
    network = container.network
    lines = (
        (IMAGE, str(image)),
        *(((DISK, str(layout.disk(container.name))),) if disk else ()),
        ("lxc.uts.name", container.name),
        ("lxc.rootfs.path", f"dir:{folder}/{ROOTFS}"),
        ("lxc.idmap", f"u 0 {FIRST_ID} {IDS}"),
        ("lxc.idmap", f"g 0 {FIRST_ID} {IDS}"),
        # /proc/sys and /sys belong to the host's kernel. Only the part for the container's own network is writable.
        ("lxc.mount.auto", "proc:mixed sys:mixed cgroup:rw:force"),
        ("lxc.mount.entry", f"{folder}/{DEVICES}/tun dev/net/tun none bind,create=file 0 0"),
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
        # What root could not do anyway. Without the capabilities, systemd does not start units that would try.
        ("lxc.cap.drop", "mac_admin mac_override sys_module sys_rawio sys_time"),
        ("lxc.autodev", "1"),
        ("lxc.tty.max", "0"),
        ("lxc.pty.max", "1024"),
    )
    return "".join(f"{key} = {value}\n" for key, value in lines)


def parse(text: str) -> dict[str, str]:
    """The values by key, with those of rootfs.py. If a key occurs twice, the last value counts."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def image_of(text: str) -> Path | None:
    """The image that this configuration uses; None if it does not name one."""
    image = parse(text).get(IMAGE)
    return Path(image) if image else None


def has_disk(text: str) -> bool:
    """Whether the configuration mounts a disk for this container."""
    return DISK in parse(text)


def is_privileged(text: str) -> bool:
    """Whether an earlier version made this container: root in it is root on this machine, and owns its files."""
    return parse(text).get("lxc.rootfs.path", "").startswith("overlay:")


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
