"""Whose disk is slowed: the device under the node's database, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.providers.lab import throttle
from tercet.providers.lab.cgroup import Cgroups
from tercet.providers.lab.throttle import LIMITS, Throttle, device_at

MOUNTINFO = """\
931 930 0:61 / / rw,relatime - overlay overlay rw,lowerdir=/image
940 931 7:3 / /var/lib/postgresql rw,relatime - ext4 /dev/loop3 rw
941 931 0:5 /tun /dev/net/tun rw - devtmpfs udev rw
"""


def test_the_device_is_the_one_mounted_at_the_database() -> None:
    assert device_at(MOUNTINFO, "/var/lib/postgresql") == "7:3"
    assert device_at(MOUNTINFO.replace("postgresql", "other"), "/var/lib/postgresql") == ""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Throttle:
    """A host with control groups of version 1, as plain files."""
    root = tmp_path / "blkio"
    root.mkdir()
    for limit in LIMITS:
        (root / limit).write_text("")
    monkeypatch.setattr(throttle, "_blkio", lambda: root)
    return Throttle(Cgroups("t-nothing"), "t-nothing")


def test_what_is_slow_is_read_from_the_groups_and_ended_there(made: Throttle, tmp_path: Path) -> None:
    assert made.possible and not made.slowed("db-a")
    made.free("db-a")  # nothing happens
    group = tmp_path / "blkio" / "tercet" / "t-nothing" / "db-a"
    group.mkdir(parents=True)
    for limit in LIMITS:
        (group / limit).write_text("7:3 20\n")
    assert made.slowed("db-a") and not made.slowed("db-b")
    assert made.free_command("db-a")[4:] == [str(group / limit) for limit in LIMITS]


def test_a_node_that_does_not_run_is_refused(made: Throttle) -> None:
    with pytest.raises(TercetError, match="slow the disk of db-a: it does not run"):
        made.slow("db-a", 20)


def test_a_host_with_neither_way_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_blkio", lambda: None)
    assert not Throttle(Cgroups("t-nothing"), "t-nothing").possible
