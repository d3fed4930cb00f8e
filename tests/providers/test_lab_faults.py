"""Healing in the lab: nobody's failure is another one's, and the healer stays until its remedy has worked."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.providers.base import FREEZE
from tercet.providers.lab.containers import START
from tercet.providers.lab.faults import LabFaults
from tercet.providers.lab.layout import Container, Network, layout_of

A, B, C = "db-sib-01", "db-sib-03", "db-fsn-01"


class Lab:
    """Containers, control groups and cables that write down what is done, and fail for one node."""

    def __init__(self, broken: str, error: Exception) -> None:
        self.broken, self.error = broken, error
        self.done: list[str] = []

    async def start(self, container: Container) -> None:
        if container.name == self.broken:
            raise self.error
        await asyncio.sleep(0.01)  # so that a failure comes first
        self.done.append(f"start {container.name}")

    async def plug(self, port: str, network: Network) -> None:
        self.done.append(f"plug {port}")

    def freeze(self, node: str, on: bool) -> None:
        if node == self.broken:
            raise self.error
        self.done.append(f"thaw {node}")


class Faults(LabFaults):
    def __init__(self, platform: Platform, lab: Lab) -> None:
        super().__init__(layout_of(platform), cast(Any, lab), cast(Any, lab), cast(Any, lab))
        self.lab = lab

    async def _dismiss(self, node: str) -> None:
        self.lab.done.append(f"dismiss {node}")

    def _healer(self, node: str) -> tuple[str, float]:
        return FREEZE, 30.0


@pytest.mark.parametrize("error", [TercetError("no boot"), OSError(28, "No space left")])
async def test_all_nodes_are_started_even_if_one_is_not(platform: Platform, error: Exception) -> None:
    lab = Lab(B, error)
    with pytest.raises(TercetError, match=str(error.args[-1])):
        await Faults(platform, lab).start([A, B, C])
    assert [word for word in lab.done if word.startswith("start")] == [f"start {A}", f"start {C}"]
    assert [word for word in lab.done if word.startswith("dismiss")] == [f"dismiss {A}", f"dismiss {C}"]
    assert lab.done.index(f"start {A}") < lab.done.index("plug d-sib-01") < lab.done.index(f"dismiss {A}")


async def test_all_nodes_are_thawed_even_if_one_is_not(platform: Platform) -> None:
    lab = Lab(B, OSError(5, "Input/output error"))
    with pytest.raises(TercetError, match="Input/output error"):
        await Faults(platform, lab).thaw([A, B, C])
    assert lab.done == [f"thaw {A}", f"dismiss {A}", f"thaw {C}", f"dismiss {C}"]


def start(folder: Path, populated: int) -> Sequence[str]:
    """What the start command, which is the healer's too, runs on a node with so many processes."""
    group = folder / "group"
    group.mkdir()
    (group / "cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
    log = folder / "log"
    for program in ("ip", "lxc-start"):
        (folder / program).write_text(f'#!/bin/sh\necho {program} "$@" >> {log}\n')
        (folder / program).chmod(0o755)
    below = f"../../..{group}"  # of /sys/fs/cgroup
    subprocess.run(
        ["sh", "-c", START, "sh", "d-sib-01", "/labs", A, "/log", below],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        check=True,
        timeout=60,
    )
    return log.read_text().splitlines()


def test_a_living_node_that_was_unplugged_is_plugged_in_again(tmp_path: Path) -> None:
    assert start(tmp_path, populated=1) == ["ip link set d-sib-01 up"]


def test_a_dead_node_is_started_with_a_new_cable(tmp_path: Path) -> None:
    assert start(tmp_path, populated=0) == [
        "ip link delete d-sib-01",
        f"lxc-start --lxcpath /labs --name {A} --daemon --logfile /log --logpriority WARN",
    ]
