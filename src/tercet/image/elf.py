"""Checks from the ELF header whether a file is a program for this architecture (System V ABI, figure 4-3)."""

from __future__ import annotations

import platform
import stat
from pathlib import Path
from typing import Literal

from tercet.errors import TercetError

Arch = Literal["amd64", "arm64"]

_MACHINES: dict[int, str] = {0x3E: "amd64", 0xB7: "arm64"}
_EXECUTABLE = (2, 3)  # ET_EXEC, and ET_DYN: position-independent programs are "shared objects"


def host_arch() -> Arch:
    """This machine's architecture, by the name that Debian and Go use."""
    machine = platform.machine()
    if machine in ("x86_64", "amd64"):
        return "amd64"
    if machine in ("aarch64", "arm64"):
        return "arm64"
    raise TercetError(f"tercet builds images for amd64 and arm64; this machine is {machine}")


def check_program(path: Path, arch: Arch) -> None:
    """Raise TercetError unless `path` is an executable file for Linux on `arch`."""
    try:
        mode = path.stat().st_mode
        with path.open("rb") as stream:
            header = stream.read(20)
    except OSError as error:
        raise TercetError(f"a program was expected at {path}: {error.strerror}") from error
    if len(header) < 20 or header[:4] != b"\x7fELF":
        raise TercetError(f"{path} is not a Linux program (no ELF header); give the {arch} binary itself")
    order: Literal["little", "big"] = "little" if header[5] == 1 else "big"
    kind = int.from_bytes(header[16:18], order)
    machine = int.from_bytes(header[18:20], order)
    if kind not in _EXECUTABLE:
        raise TercetError(f"{path} is an ELF file but not a program (type {kind}); give the {arch} binary itself")
    if _MACHINES.get(machine) != arch:
        found = _MACHINES.get(machine, f"machine {machine:#x}")
        raise TercetError(f"{path} is built for {found}; this image needs {arch}")
    if not mode & stat.S_IXUSR:
        raise TercetError(f"{path} is not executable; run chmod +x on it")
