"""A provider without faults refuses each with what to do instead."""

from __future__ import annotations

import pytest

from tercet.errors import TercetError
from tercet.providers.base import Faults, NoFaults


async def test_everything_is_refused_and_nothing_is_in_force() -> None:
    faults: Faults = NoFaults("proxmox")
    assert faults.can == frozenset()
    assert await faults.faults_active() == ()
    await faults.heal_all()
    with pytest.raises(TercetError, match=r"proxmox cannot kill db-a, db-b for 5 s from outside; .*--lab"):
        await faults.kill(["db-a", "db-b"], seconds=5)
    with pytest.raises(TercetError, match="cannot cut a→b for 5 s"):
        await faults.cut("a", "b", seconds=5, both=False)
    with pytest.raises(TercetError, match="cannot join a↔everything"):
        await faults.join("a", None)
    with pytest.raises(TercetError, match="cannot lose 15 % of the packets of a for 5 s"):
        await faults.lose("a", percent=15, seconds=5)
    for action in (
        faults.start(["x"]),
        faults.thaw(["x"]),
        faults.freeze(["x"], seconds=1),
        faults.delay("a", by=0.1, seconds=1),
        faults.steady("a"),
        faults.slow_disk("x", iops=20, seconds=1),
        faults.free_disk("x"),
    ):
        with pytest.raises(TercetError):
            await action
