"""Three Proxmox servers with real containers behind them, in a network namespace of their own.

Each server is a `FakeHost` (the API of `fakepve`, real SSH) at the address of its site's router, on Proxmox's own
ports. When the API starts a container, an LXC container is started: unprivileged, from the template that was
uploaded, with /dev/net/tun only where its configuration passes it in. `pct` is a shim around LXC.

Run inside the namespace: `python -m tests.lab.pvefarm FOLDER NAME SITE…`. It prints what an inventory needs as one
line of JSON, obeys commands on standard input (see `obey`), and cleans up when that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakepve.model import TaskError
from fakepve.server import FakePve

from tercet.errors import TercetError
from tercet.host.command import command as local
from tercet.providers.lab.cgroup import Cgroups, emptied, kill, remove
from tests.proxmox.fakehost import FakeHost, _say, _start, own_folder

FIRST_ID, IDS = 100000, 65536  # as Proxmox maps unprivileged containers
NETWORK = "10.79"
START_LIMIT = 120.0
SHUTDOWN_LIMIT = 60
UNPACK_LIMIT = 300.0
SHIMS = {
    # "pct start 101" and the like, for scripts that a server runs by itself; `pct exec` takes a shorter way.
    "pct": "#!/usr/bin/python3 -IS\nimport os, socket, sys\nway = socket.socket(socket.AF_UNIX)\n"
    "way.connect(os.environ['PVE_FOLDER'] + '/pct.sock')\nway.sendall(' '.join(sys.argv[1:]).encode() + b'\\n')\n"
    "sys.exit(int(way.recv(16) or b'1'))\n",
    "lxc-stop": '#!/bin/sh\nexec "$LXC_BIN/lxc-stop" -P "$PVE_FOLDER/lxc" "$@"\n',
    "lxc-freeze": '#!/bin/sh\nexec "$LXC_BIN/lxc-freeze" -P "$PVE_FOLDER/lxc" "$@"\n',
    "lxc-unfreeze": '#!/bin/sh\nexec "$LXC_BIN/lxc-unfreeze" -P "$PVE_FOLDER/lxc" "$@"\n',
    "pvesm": '#!/bin/sh\n[ "$1" = path ] || exit 1\necho "$PVE_FOLDER/files/${2%%:*}-${2##*/}"\n',
    "pveversion": "#!/bin/sh\necho pve-manager/9.0.10/fakepve\n",
}


def bridge(index: int) -> str:
    return f"vmbr{index}"


class Lxc:
    """The containers of one server. `index` numbers its site from 1; `shared` holds unpacked templates."""

    def __init__(self, folder: Path, farm: str, site: str, index: int, shared: Path) -> None:
        self.folder, self.site, self.index, self.shared = folder, site, index, shared
        self.path = folder / "lxc"
        self.files = folder / "files"
        self.bin = folder / "bin"
        self.cgroups = Cgroups(farm)
        self.host: Any = None
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._began: dict[int, Any] = {}  # when the API started each container: another time is a reboot
        for each in (self.path, self.files, self.bin):
            each.mkdir(parents=True, exist_ok=True)
        for name, text in SHIMS.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def keep(self, storage: str, name: str, data: bytes) -> None:
        (self.files / f"{storage}-{name}").write_bytes(data)

    async def match(self, pve: FakePve) -> None:
        try:
            wanted = {ct.vmid: ct for ct in list(pve.cts)}
            for vmid, ct in wanted.items():
                async with self._locks[vmid]:
                    if ct.status == "running" and self._began.setdefault(vmid, ct.started_at) != ct.started_at:
                        await self.shut_down(vmid)
                    self._began[vmid] = ct.started_at
                    if ct.status == "running" and not self.running(vmid):
                        await self.start(ct)
                    elif ct.status != "running" and self.running(vmid):
                        await self.stop(vmid)
            for folder in tuple(self.path.iterdir()):
                if int(folder.name) not in wanted:
                    async with self._locks[int(folder.name)]:
                        await self.stop(int(folder.name))
                        await local(["umount", str(folder / "rootfs")], doing=f"destroy {folder.name}")
                        shutil.rmtree(folder)
        except (TercetError, OSError, subprocess.SubprocessError) as error:
            raise TaskError(str(error)) from None

    def name(self, vmid: int) -> str:
        return f"{self.site}-{vmid}"

    def running(self, vmid: int) -> bool:
        return self.cgroups.init(self.name(vmid)) is not None

    def lives(self, vmid: int) -> bool:
        return self.running(vmid) or self._locks[vmid].locked()

    async def start(self, ct: Any) -> None:
        folder, name = self.path / str(ct.vmid), self.name(ct.vmid)
        if not folder.exists():
            lower = await asyncio.to_thread(self.unpacked)
            for each in ("upper", "work", "rootfs"):
                (folder / each).mkdir(parents=True)
            os.chown(folder / "upper", FIRST_ID, FIRST_ID)
            layers = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
            mount = ["mount", "-t", "overlay", "overlay", "-o", layers, str(folder / "rootfs")]
            await local(mount, doing=f"mount the disk of {name}")
        (folder / "config").write_text(self.config(ct, folder))
        log = folder / "lxc.log"
        log.unlink(missing_ok=True)
        # Without newuidmap in its path LXC writes the map itself, as root may, and /etc/subuid has no say.
        argv = [
            "env",
            "PATH=/nonexistent",
            shutil.which("lxc-start") or "lxc-start",
            "-P",
            str(self.path),
            "-n",
            str(ct.vmid),
            "-d",
            "-o",
            str(log),
            "-l",
            "WARN",
        ]
        try:
            await local(argv, doing=f"start {name}", timeout=START_LIMIT)
        except TercetError as error:
            raise TercetError(f"{error}\n{log.read_text() if log.exists() else ''}") from None

    async def shut_down(self, vmid: int) -> None:
        """In order, as a reboot does it, else by force."""
        if self.running(vmid):
            stop = ["lxc-stop", "-P", str(self.path), "-n", str(vmid), "--timeout", str(SHUTDOWN_LIMIT)]
            await local(stop, doing=f"shut {self.name(vmid)} down", timeout=SHUTDOWN_LIMIT + 30)
        await self.stop(vmid)

    async def stop(self, vmid: int) -> None:
        node, monitor = self.cgroups.node(self.name(vmid)), self.cgroups.monitor(self.name(vmid))
        kill(node)
        await emptied(node, 60)
        await emptied(monitor, 60)
        for group in (node, monitor):
            with contextlib.suppress(OSError):
                remove(group)

    def unpacked(self) -> Path:
        """The template's files, unpacked once for all servers, with the owners that an unprivileged container has."""
        template = next(self.files.glob("local-*.tar.zst"))
        target = self.shared / template.stem
        with UNPACKING:
            if not target.exists():
                new = self.shared / "new"
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir(parents=True)
                tar = ["tar", "--zstd", "-xf", str(template), "-C", str(new), "--numeric-owner", "--xattrs"]
                subprocess.run(tar, check=True, timeout=UNPACK_LIMIT)
                shift_owners(new)
                new.rename(target)
        return target

    def config(self, ct: Any, folder: Path) -> str:
        name = self.name(ct.vmid)
        lines = [
            ("lxc.uts.name", ct.config["hostname"]),
            ("lxc.rootfs.path", f"dir:{folder}/rootfs"),
            ("lxc.idmap", f"u 0 {FIRST_ID} {IDS}"),
            ("lxc.idmap", f"g 0 {FIRST_ID} {IDS}"),
            ("lxc.include", "/usr/share/lxc/config/userns.conf"),
            ("lxc.mount.auto", "proc:mixed sys:mixed cgroup:rw:force"),
            ("lxc.cgroup.dir.container", f"tercet/{self.cgroups.lab.name}/nodes/{name}"),
            ("lxc.cgroup.dir.monitor", f"tercet/{self.cgroups.lab.name}/monitors/{name}"),
            ("lxc.net.0.type", "veth"),
            ("lxc.net.0.link", bridge(self.index)),
            ("lxc.net.0.name", "eth0"),
            ("lxc.net.0.veth.pair", f"veth{ct.vmid}i0"),
            ("lxc.net.0.flags", "up"),
            ("lxc.net.0.ipv4.address", f"{NETWORK}.{self.index}.{ct.vmid % 100 + 20}/24"),
            ("lxc.net.0.ipv4.gateway", f"{NETWORK}.{self.index}.1"),
            ("lxc.apparmor.profile", "unconfined"),
            ("lxc.autodev", "1"),
            ("lxc.tty.max", "0"),
            ("lxc.pty.max", "1024"),
        ]
        if any(value.split(",")[0] == "/dev/net/tun" for key, value in ct.config.items() if key.startswith("dev")):
            # A node of the container's own, as Proxmox makes it: the server's belongs to somebody else in there.
            tun = folder / "tun"
            if not tun.exists():
                os.mknod(tun, 0o660 | stat.S_IFCHR, os.makedev(10, 200))
                os.chown(tun, FIRST_ID, FIRST_ID)
            lines.append(("lxc.mount.entry", f"{tun} dev/net/tun none bind,create=file 0 0"))
        return "".join(f"{key} = {value}\n" for key, value in lines)

    async def _pct(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What a script on the server does with `pct`: the API shows it too."""
        verb, vmid = (await reader.readline()).decode().split()
        ct = self.host.pve.ct(int(vmid))
        ct.status = {"start": "running", "stop": "stopped"}[verb]
        if verb == "start" and not self.running(int(vmid)):
            await self.stop(int(vmid))
        await self.match(self.host.pve)
        writer.write(b"0")
        writer.close()

    async def command(self, host: FakeHost, command: str) -> asyncio.subprocess.Process:
        if self.host is None:
            self.host = host
            await asyncio.start_unix_server(self._pct, self.folder / "pct.sock")
        match shlex.split(command):
            case ["pct", "exec", vmid, "--", *argv]:
                if not self.running(int(vmid)):
                    return await _say(f"container '{vmid}' not running!", 255)
                return await _start(["lxc-attach", "-P", str(self.path), "-n", vmid, "--", *argv])
            case ["pct", "set", vmid, *pairs]:
                ct = host.pve.ct(int(vmid))
                ct.config |= {key.removeprefix("-"): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
                return await _start(["true"])
        locks = self.folder / "lock"
        locks.mkdir(exist_ok=True)
        environment = [
            *("env", f"PATH={self.bin}:{os.environ['PATH']}", "LXC_BIN=/usr/bin"),
            f"PVE_FOLDER={self.folder}",
        ]
        return await _start([*environment, "bash", "-c", own_folder(command, locks)])


UNPACKING = threading.Lock()


def shift_owners(root: Path) -> None:
    """Give every file to the container's users; a change of owner takes set-id bits away, so they are put back."""
    for directory, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = os.path.join(directory, name)  # noqa: PTH118 - a hundred thousand times
            if name in folders and not os.path.islink(path):  # noqa: PTH114
                continue  # it is "." of its own turn
            status = os.lstat(path)
            os.lchown(path, status.st_uid + FIRST_ID, status.st_gid + FIRST_ID)
            if status.st_mode & 0o6000:
                os.chmod(path, status.st_mode & 0o7777)  # noqa: PTH101


async def network(sites: Sequence[str]) -> None:
    """One bridge a site, the world's, and forwarding between them."""
    lines = []
    for index in [*range(1, len(sites) + 1), 250]:
        lines += [
            f"link add {bridge(index)} type bridge mcast_snooping 0",
            f"address add {NETWORK}.{index}.1/24 dev {bridge(index)}",
            f"link set {bridge(index)} up",
        ]
    lines.append("link set lo up")
    await local(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n", doing="raise the farm's network")
    for key in ("ip_forward", "conf/all/rp_filter", "conf/default/rp_filter"):
        Path("/proc/sys/net/ipv4", key).write_text("1" if key == "ip_forward" else "0")


def obey(words: list[str], hosts: dict[str, FakeHost]) -> object:
    """One command of the test."""
    match words:
        case ["delay", seconds]:
            for host in hosts.values():
                host.api_way.delay = host.ssh_way.delay = float(seconds)
        case ["vanish", site]:
            hosts[site].call(hosts[site].vanish())
        case ["come-back", site]:
            hosts[site].call(hosts[site].come_back())
        case ["kill", site, role]:
            ct = next(ct for ct in hosts[site].pve.cts if f"role.{role}" in ct.config["tags"])
            ct.status = "stopped"
            hosts[site].call(hosts[site].containers.match(hosts[site].pve))
        case ["config", site, role, key, value]:
            ct = next(ct for ct in hosts[site].pve.cts if f"role.{role}" in ct.config["tags"])
            ct.config[key] = value
        case ["containers"]:
            return {name: {ct.vmid: ct.config for ct in host.pve.cts} for name, host in hosts.items()}
        case ["commands"]:
            return {name: len(host.commands) for name, host in hosts.items()}
        case _:
            raise ValueError(words)
    return "done"


def main() -> None:
    folder, farm, sites = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asyncio.run(network(sites))
    hosts: dict[str, FakeHost] = {}
    try:
        for index, site in enumerate(sites, start=1):
            containers = Lxc(folder / site, farm, site, index, folder / "shared")
            address = f"{NETWORK}.{index}.1"
            hosts[site] = FakeHost(folder / site, f"pve-{site}", containers, address=address, ports=(8006, 22))
            hosts[site].pve.time_scale = 0.01
            hosts[site].pve.first_vmid = 100 * index
            hosts[site].__enter__()
        print(json.dumps({site: host.site() for site, host in hosts.items()}), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(shlex.split(line), hosts)), flush=True)
    finally:
        for host in hosts.values():
            host.__exit__()
        cgroups = Cgroups(farm)
        kill(cgroups.lab)
        asyncio.run(emptied(cgroups.lab, 60))
        with contextlib.suppress(OSError):
            remove(cgroups.lab)


if __name__ == "__main__":
    main()
