"""The base system: one Debian root filesystem for all nodes, which differ only in files and units.

Invariant: a key covers the definition and every package with its version, so it means the same on every machine at any
time. Debian determines the packages of a definition on the day when it is built, and the lock file records them
(lock.py). A tree under its final name is complete (manifest.py). docs/components-sources.md has the reasons for the
settings.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from tercet.converge.events import Emit, Event
from tercet.errors import TercetError
from tercet.host.process import need, run
from tercet.image.archives import LISTS, archives_of, check_same
from tercet.image.cache import Cache, timestamp
from tercet.image.lock import DebianEntry, Lock, LockFile
from tercet.image.manifest import publish, whole

PHASE = "image/debian"
TIMEOUT = 1800.0  # seconds; it takes about 100 with a mirror nearby
MIRROR = "http://deb.debian.org/debian"
MIRROR_VARIABLE = "TERCET_DEBIAN_MIRROR"
DATED = re.compile(r"(.*)(/\d{8}T\d{6}Z)")  # snapshot.debian.org/archive/debian/20261129T000000Z
SHOWN = 5  # the greatest number of packages in a message
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus"),
    *("ifupdown", "iproute2", "iputils-ping", "nftables", "openssh-server"),
    *("ca-certificates", "curl", "jq", "procps", "less", "zstd"),
    *("python3", "python3-psycopg", "python3-psycopg-c"),
    *("postgresql-17", "postgresql-client-17", "patroni", "python3-consul", "pgpool2", "pgbackrest"),
)

# dpkg leaves these out of every package. Copyright files stay, because their licences require this.
EXCLUDED = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)

# In a container these fail or wait for hardware, and systemd would always report the state "degraded".
MASKED = (
    "systemd-modules-load.service",
    "console-getty.service",
    "getty@tty1.service",
    "systemd-logind.service",
    # The host mounts the kernel's own file systems.
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
    # Nodes change only when the operator wants it, not by a timer.
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)

# Installed, but only started by tercet's own units and settings. They are not masked, because a mask is a link to
# /dev/null at the path where tercet writes its unit.
DISABLED = ("postgresql.service", "patroni.service", "pgpool2.service", "ssh.service", "nftables.service")

# Written before the packages are installed, because the packages' scripts read them.
BEFORE = {
    "etc/postgresql-common/createcluster.conf": "create_main_cluster = false\nstart_conf = disabled\n",
}

FILES = {
    "etc/network/interfaces": (
        "# The provider configures the network.\n"
        "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n"
    ),
    # Kept on disk, because the journal shows why a node was killed. Limited, because it must never fill a disk.
    "etc/systemd/journald.conf.d/tercet.conf": (
        "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRuntimeMaxUse=16M\nForwardToSyslog=no\n"
    ),
    # The image has no host keys, because every node would have the same ones. Debian makes them on what systemd calls
    # the first boot, and a boot with an empty machine-id does not count as one. So a node makes its keys when sshd
    # first starts.
    "etc/systemd/system/ssh.service.d/tercet.conf": "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n"
    "ExecStartPre=/usr/sbin/sshd -t\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": "",
    "etc/machine-id": "",
    # Newer than /usr, so that the first boot does not rebuild what the packages' scripts have just built.
    "etc/.updated": "",
    "var/.updated": "",
}

REMOVED = (
    "etc/hostname",  # with it, systemd would override the container's name from the provider
    "etc/ssh/ssh_host_*",
    "var/lib/apt/lists/*",
    "var/cache/apt/*.bin",
    "var/log/*.log",
    "var/log/apt/*",
)

DIRECTORIES = ("usr/lib/tercet", "opt/tercet/programs", "etc/tercet")


ENTRY = "debian.json"  # next to a finished tree: a list of its packages


def definition(suite: str, arch: str) -> str:
    """16 hex digits that identify the definition. The mirror is not included, because it does not affect the
    content.
    """
    command = mmdebstrap(suite, arch, Path("before"), Path("rootfs"), mirror="")
    return _digest([command, MASKED, DISABLED, BEFORE, FILES, REMOVED, DIRECTORIES])


def base_key(entry: DebianEntry) -> str:
    """16 hex digits that identify the result, with its packages. (Debian never changes a version.)"""
    return _digest([entry.definition, entry.packages])


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def base_tree(cache: Cache, key: str) -> Path:
    """The path of the finished base system with that key, whether it exists or not."""
    return cache.images / f"base-{key}" / "rootfs"


def pinned_base(lock: Lock, suite: str, arch: str) -> DebianEntry | None:
    """The lock's entry if it has the present definition. Its tree may be missing."""
    entry = lock.debian
    return entry if entry is not None and entry.definition == definition(suite, arch) else None


async def ensure_base(cache: Cache, suite: str, arch: str, lock: LockFile, emit: Emit) -> DebianEntry:
    """The base system: the one in the lock, or else the newest one in the cache, or else a new one.

    The lock records the choice. Mirrors have no old packages: if the cache does not have the lock's base system, a new
    one replaces it, and the differences are reported. A mirror of a date must have the lock's packages. Raises
    TercetError if it does not, or if a file has another digest than in the lock.
    """
    wanted = pinned_base(lock.lock, suite, arch)
    for entry in [wanted] if wanted else _built(cache, definition(suite, arch)):
        if await whole(base_tree(cache, base_key(entry)).parent, emit):
            lock.settle_debian(entry)
            emit(Event(PHASE, "done", "base system: in the cache"))
            return entry
    entry = await _build(cache, suite, arch, lock.lock.debian, emit)
    if wanted is not None and (moved := differences(wanted.packages, entry.packages)):
        if DATED.fullmatch(mirror()):
            raise TercetError(
                f"expected the packages of the lock file, of {wanted.when}, at {mirror()}, found {moved}: use the "
                'mirror of another date, or remove "debian" from the lock file to accept these'
            )
        emit(Event(PHASE, "progress", f"Debian has newer packages than the lock file: {moved}"))
    lock.settle_debian(entry)
    return entry


def _built(cache: Cache, wanted: str) -> list[DebianEntry]:
    """The base systems of a definition in the cache, the newest first."""
    found = []
    for path in cache.images.glob(f"base-*/{ENTRY}"):
        with suppress(OSError, ValidationError):
            found.append(DebianEntry.model_validate_json(path.read_bytes()))
    return sorted((entry for entry in found if entry.definition == wanted), key=lambda entry: entry.when, reverse=True)


async def _build(cache: Cache, suite: str, arch: str, known: DebianEntry | None, emit: Emit) -> DebianEntry:
    """A new base system in the cache. `known` is the lock's entry."""
    check_host()
    started = time.monotonic()
    emit(Event(PHASE, "started", f"base system: Debian {suite} from {mirror()}"))
    with cache.scratch("base") as scratch:
        folder, before, lists = scratch / "base", scratch / "before", scratch / "lists"
        folder.mkdir()
        lists.mkdir()
        rootfs = folder / "rootfs"
        write_files(before, BEFORE)
        report = Progress(emit, started)
        argv = [*mmdebstrap(suite, arch, before, rootfs, mirror()), *_keeping(lists)]
        try:
            await run(argv, timeout=TIMEOUT, on_line=report, what="mmdebstrap")
        except TercetError:
            emit(Event(PHASE, "failed", "base system: not built", seconds=time.monotonic() - started))
            raise
        await asyncio.to_thread(finish, rootfs)
        packages = packages_of(rootfs)
        archives = await asyncio.to_thread(archives_of, packages, lists)
        entry = DebianEntry(definition=definition(suite, arch), packages=packages, archives=archives, when=timestamp())
        check_same(known, entry)
        (folder / ENTRY).write_text(entry.model_dump_json(indent=2))
        tree = base_tree(cache, base_key(entry))
        if not await whole(tree.parent, emit):
            await publish(folder, tree.parent)
    emit(Event(PHASE, "done", "base system: built", seconds=time.monotonic() - started, fraction=1.0))
    return entry


def packages_of(rootfs: Path) -> dict[str, str]:
    """Every installed package with its version, from dpkg's status."""
    packages: dict[str, str] = {}
    for paragraph in (rootfs / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        if fields.get("Status") == "install ok installed":
            packages[f"{fields['Package']}:{fields['Architecture']}"] = fields["Version"]
    return dict(sorted(packages.items()))


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The differences between two sets of packages, as text; "" if there are none."""
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    shown = [f"{name} {old.get(name, 'absent')} → {new.get(name, 'absent')}" for name in changed[:SHOWN]]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"{', '.join(shown)}{more}"


def check_host() -> None:
    """Raise TercetError unless this machine can build a Debian tree."""
    if os.geteuid() != 0:
        raise TercetError("building the base system needs root (mmdebstrap --mode=root); run the command with sudo")
    need("mmdebstrap", "mmdebstrap")
    if not Path(KEYRING).is_file():
        raise TercetError(f"Debian's keys are needed at {KEYRING}; run: apt-get install debian-archive-keyring")


def mirror() -> str:
    """The Debian mirror: TERCET_DEBIAN_MIRROR, or else the public one."""
    return os.environ.get(MIRROR_VARIABLE, "").rstrip("/") or MIRROR


def security(mirror: str) -> str:
    """The mirror's security updates: "-security" follows the name of the archive, before the date if there is one."""
    dated = DATED.fullmatch(mirror)
    return f"{dated[1]}-security{dated[2]}" if dated else f"{mirror}-security"


def package_sources(suite: str, mirror: str) -> list[str]:
    """The lines of apt's sources.list."""
    return [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {security(mirror)} {suite}-security main",
    ]


def mmdebstrap(suite: str, arch: str, before: Path, rootfs: Path, mirror: str) -> list[str]:
    """The command that makes the tree, in its own namespaces, so that it never leaves a mount or a process behind."""
    return [
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"),
        *("mmdebstrap", "--verbose", "--mode=root", "--variant=minbase", f"--architectures={arch}"),
        f"--include={','.join(PACKAGES)}",
        f"--keyring={KEYRING}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt={line}" for line in EXCLUDED),
        "--dpkgopt=force-unsafe-io",  # nothing can be lost: an interrupted tree is discarded
        f"--essential-hook=sync-in {before} /",
        suite,
        str(rootfs),
        *package_sources(suite, mirror),
    ]


def _keeping(lists: Path) -> list[str]:
    """Options that do not affect the content: keep the lists of packages, and accept those of a date in the past."""
    old = ['--aptopt=Acquire::Check-Valid-Until "false"'] if DATED.fullmatch(mirror()) else []
    return [f'--customize-hook=ln "$1"/var/lib/apt/lists/{LISTS} {lists}', *old]


def finish(rootfs: Path) -> None:
    """Turn a Debian tree into the root filesystem of a node."""
    for unit in MASKED:
        link = rootfs / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for unit in DISABLED:
        disable(rootfs, unit)
    for pattern in REMOVED:
        for path in rootfs.glob(pattern):
            if path.is_file() or path.is_symlink():
                path.unlink()
    write_files(rootfs, FILES)
    for name in DIRECTORIES:
        (rootfs / name).mkdir(parents=True, exist_ok=True)


def disable(rootfs: Path, unit: str) -> None:
    """Do the same as `systemctl disable`: remove the links that start the unit, and its aliases."""
    system = rootfs / "etc/systemd/system"
    for link in [*system.glob("*.wants/*"), *system.glob("*.requires/*"), *system.glob("*.service")]:
        if link.is_symlink() and link.readlink().name == unit:
            link.unlink()


def write_files(root: Path, files: dict[str, str]) -> None:
    """Replace each file, whose name is a path relative to `root`. Never writes through a link at that path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(0o644)


class Progress:
    """Turns mmdebstrap's output into events. Its phases take about these shares of the time (measured)."""

    STAGES = (
        (re.compile(r"^I: running apt-get update"), "package lists", 0.0, 0.08),
        (re.compile(r"^I: downloading packages with apt"), "fetching the essential packages", 0.08, 0.12),
        (re.compile(r"^I: extracting archives"), "extracting the essential packages", 0.12, 0.15),
        (re.compile(r"^I: installing essential packages"), "installing the essential packages", 0.15, 0.30),
        (re.compile(r"^I: installing remaining packages"), "installing packages", 0.30, 0.98),
        (re.compile(r"^I: cleaning package lists"), "cleaning up", 0.98, 1.0),
    )
    STEP = re.compile(r"^(Get:\d+|Unpacking|Setting up) ?")
    TOTAL = re.compile(r"^\d+ upgraded, (\d+) newly installed")

    def __init__(self, emit: Emit, started: float) -> None:
        self._emit = emit
        self._started = started
        self._stage = ("starting", 0.0, 0.0)
        self._steps = 0
        self._expected = 0
        self._last = 0.0

    def __call__(self, line: str) -> None:
        for pattern, title, low, high in self.STAGES:
            if pattern.match(line):
                self._stage, self._steps, self._expected, self._last = (title, low, high), 0, 0, 0.0
        if found := self.TOTAL.match(line):
            self._expected = 3 * int(found[1])  # each package is fetched, unpacked and set up
        if self.STEP.match(line):
            self._steps += 1
        now = time.monotonic()
        if now - self._last >= 1.0:
            self._last = now
            self._send(now)

    def _send(self, now: float) -> None:
        title, low, high = self._stage
        share = min(1.0, self._steps / self._expected) if self._expected else 0.0
        counted = f" {self._steps // 3} of {self._expected // 3}" if self._expected else ""
        self._emit(
            Event(
                PHASE,
                "progress",
                f"base system: {title}{counted}",
                seconds=now - self._started,
                fraction=low + share * (high - low),
            )
        )
