"""What is mounted for a container, and what is said of a mount that fails. The real mounts are in tests/lab."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from pathlib import Path

import pytest

from tercet.inventory.platform import Platform
from tercet.providers.lab import preflight, rootfs
from tercet.providers.lab.config import config_text
from tercet.providers.lab.layout import layout_of
from tercet.providers.lab.rootfs import FIRST_ID, MOUNT_SETATTR, MOVE_MOUNT, OPEN_TREE, MountError, mount_root


class Kernel:
    """Notes what is called of it. The system call `broken` fails."""

    def __init__(self, broken: int = 0) -> None:
        self.calls: list[str] = []
        self.broken = broken

    def syscall(self, number: int, *arguments: object) -> int:
        name = {OPEN_TREE: "clone", MOUNT_SETATTR: "shift", MOVE_MOUNT: "attach"}[number]
        paths = [word.decode() for word in arguments if isinstance(word, bytes) and word]
        self.calls.append(" ".join((name, *paths)))
        if number == self.broken:
            ctypes.set_errno(errno.EINVAL)
            return -1
        return os.open("/dev/null", os.O_RDONLY) if number == OPEN_TREE else 0

    def mount(self, source: bytes, target: bytes, kind: bytes, flags: int, options: bytes) -> int:
        self.calls.append(f"mount {kind.decode()} {target.decode()} {options.decode()}")
        return 0

    def umount2(self, target: bytes, flags: int) -> int:
        self.calls.append(f"umount {target.decode()}")
        return 0


def mounted(kernel: Kernel, platform: Platform, folder: Path, monkeypatch: pytest.MonkeyPatch, *, disk: bool) -> None:
    monkeypatch.setattr(rootfs, "libc", kernel)
    monkeypatch.setattr(rootfs, "shifting_ids", lambda: contextlib.nullcontext(7))
    monkeypatch.setattr(subprocess, "run", lambda argv, check: kernel.calls.append(" ".join(argv)))
    for call in ("mknod", "chown"):
        monkeypatch.setattr(os, call, lambda path, *_, call=call: kernel.calls.append(f"{call} {path}"))
    layout = layout_of(platform)
    text = config_text(layout, layout.container("db-sib-01"), Path("/image"), disk=disk)
    (folder / "config").write_text(text)
    mount_root(str(folder))


def test_root_of_a_node_with_a_disk(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    mounted(kernel, platform, tmp_path, monkeypatch, disk=True)
    root, disk = tmp_path / "rootfs", layout_of(platform).disk("db-sib-01")
    assert kernel.calls == [
        "clone /image",
        "shift",
        f"attach {root}",
        f"mount overlay {root} lowerdir={root},upperdir={tmp_path}/upper,workdir={tmp_path}/work",
        f"mount -n -t ext4 -o loop,noinit_itable,resuid={FIRST_ID} {disk} {root}/var/lib/postgresql",
        f"clone {root}/var/lib/postgresql",
        "shift",
        f"umount {root}/var/lib/postgresql",
        f"attach {root}/var/lib/postgresql",
        f"mount tmpfs {tmp_path}/devices mode=755,size=4k",
        f"mknod {tmp_path}/devices/tun",
        f"chown {tmp_path}/devices/tun",
    ]


def test_root_of_a_node_without_a_disk(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    mounted(kernel, platform, tmp_path, monkeypatch, disk=False)
    assert not [call for call in kernel.calls if "postgresql" in call]


def test_a_file_system_that_shifts_no_ids_is_named(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        MountError, match=r"^expected an ID-mapped mount of /image, found: Invalid argument; it needs Linux 5\.19 or"
    ):
        mounted(Kernel(broken=MOUNT_SETATTR), platform, tmp_path, monkeypatch, disk=True)


@pytest.mark.parametrize(
    ("release", "state"),
    [("6.1.0-18-amd64", "ok"), ("5.19.0", "ok"), ("5.15.0-91-generic", "failed"), ("4.19.0", "failed")],
)
def test_an_old_kernel_is_named_with_the_remedy(release: str, state: str) -> None:
    found = preflight._kernel(release)
    assert found.state == state
    if state == "failed":
        assert found.found == (
            f"{release}: the lab's containers need Linux 5.19, the first with ID-mapped mounts below an overlay"
        )
        assert found.remedy == "boot a newer kernel, such as Debian 12's"
