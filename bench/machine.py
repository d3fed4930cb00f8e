"""What a figure was measured on: without it no figure can be compared with another."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

BUSY = 0.2
"""Cores taken by other programs from which on figures are not to be trusted."""


def machine() -> dict[str, str | int | float]:
    """CPU model, cores, memory (GB) and kernel of this machine."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
    }


def cpu_model(cpuinfo: str) -> str:
    """The first "model name" of /proc/cpuinfo; "" where there is none, as on arm64."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def busy_cores(seconds: float = 3.0) -> float:
    """Cores in use over that time, whoever uses them, and what the hypervisor took away. Only when no lab is up is this
    what other programs take."""
    before = _busy_ticks()
    time.sleep(seconds)  # the measured time itself
    return round((_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds, 2)


def _busy_ticks() -> int:
    # user nice system idle iowait irq softirq steal; what guests use is in `user` already
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + irq + softirq + steal
