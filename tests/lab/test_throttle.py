"""The group of a slow disk goes away again, although the node's processes are born and end in it all the time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tercet.providers.lab import throttle
from tercet.providers.lab.cgroup import Cgroups, pids
from tercet.providers.lab.throttle import Throttle

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

BUSY = "while :; do /bin/true & /bin/true & /bin/true & wait; done"
TIMES = 300  # one in thirty was busy before the removal was tried again (seen: 16 of 500)


def test_a_group_in_which_processes_end_all_the_time_is_removed() -> None:
    root = throttle._blkio()
    if root is None:
        pytest.skip("this kernel has no blkio of control groups version 1, so there is no such group")
    slow = Throttle(Cgroups("t-throttle"), "t-throttle")
    group: Path = root / "tercet" / "t-throttle" / "db-a"
    busy = subprocess.Popen(["sh", "-c", BUSY])
    try:
        for _ in range(TIMES):
            group.mkdir(parents=True, exist_ok=True)
            (group / "cgroup.procs").write_text(str(busy.pid))
            time.sleep(0.005)
            slow.free("db-a")
            assert not group.exists() and busy.pid in pids(root)
    finally:
        busy.kill()
        busy.wait(10)
        slow.free("db-a")
        slow.forget()
