"""Healing in the lab: nobody's failure is another one's, and the healer stays until its remedy has worked."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tercet.components.systemd import CONTROL_PLANE
from tercet.errors import TercetError
from tercet.inventory.platform import Platform
from tercet.inventory.providers import Capability
from tercet.providers.lab import faults
from tercet.providers.lab.containers import START
from tercet.providers.lab.faults import LabFaults
from tercet.providers.lab.layout import Container, Network, layout_of
from tercet.providers.lab.observe import Device, NetworkState

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
        return Capability.FREEZE, 30.0


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


class Standing(Faults):
    """Faults in a lab whose cables and nodes are as given: (lives, frozen, cable is up, kind of the healer's fault)."""

    def __init__(self, platform: Platform, **nodes: tuple[bool, bool, bool, str]) -> None:
        super().__init__(platform, Lab("", TercetError()))
        self.nodes = {name.replace("_", "-"): state for name, state in nodes.items()}
        self._cgroups = cast(Any, self)

    def state(self, node: str) -> tuple[bool, bool, bool, str]:
        return self.nodes.get(node, (True, False, True, ""))

    def init(self, node: str) -> int | None:
        return 1000 if self.state(node)[0] else None

    def frozen(self, node: str) -> bool:
        return self.state(node)[1]

    def _healer(self, node: str) -> tuple[str, float]:
        kind = self.state(node)[3]
        return kind, 30.0 if kind else 0.0

    def freeze(self, node: str, on: bool) -> None:
        self.lab.freeze(node, on)

    async def observed(self, *_: object) -> NetworkState:
        cables = {
            container.port: Device((), "", self.state(container.name)[2], container.network.bridge)
            for container in self._layout.containers
        }
        return NetworkState(True, cables, {}, True, {}, True)


@pytest.fixture
def standing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Standing]:
    def make(**nodes: tuple[bool, bool, bool, str]) -> Standing:
        made = Standing(platform, **nodes)
        monkeypatch.setattr(faults, "observe_network", made.observed)
        return made

    return make


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ((True, False, True, ""), []),
        ((True, False, True, Capability.KILL), []),  # it was started by hand before its healer came
        ((False, False, False, Capability.KILL), [(Capability.KILL, 30.0)]),
        ((False, False, False, ""), []),  # stopped: no fault, and `survey` tells it
        ((True, True, True, Capability.FREEZE), [(Capability.FREEZE, 30.0)]),
        ((True, False, False, Capability.KILL), [(Capability.KILL, 30.0)]),
        ((True, False, False, ""), [(Capability.KILL, 0.0)]),
        ((True, True, False, Capability.KILL), [(Capability.FREEZE, 0.0), (Capability.KILL, 30.0)]),
    ],
)
async def test_every_fault_of_a_node_is_found_even_if_it_lives(
    standing: Callable[..., Standing], state: tuple[bool, bool, bool, str], found: list[tuple[str, float]]
) -> None:
    active = await standing(db_sib_01=state).faults_active()
    assert [(fault.kind, fault.target, fault.seconds) for fault in active] == [(kind, A, left) for kind, left in found]


async def test_a_living_node_that_was_left_unplugged_is_healed_with_all(standing: Callable[..., Standing]) -> None:
    made = standing(db_sib_01=(True, True, False, Capability.KILL))
    await made.heal_all()
    assert made.lab.done == [f"thaw {A}", f"start {A}", "plug d-sib-01", f"dismiss {A}"]


def start(folder: Path, populated: int) -> Sequence[str]:
    """What the start command, which is the healer's too, runs on a node with so many processes."""
    group = folder / "group"
    for each in (group, folder / A):
        each.mkdir()
    (group / "cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
    log = folder / "log"
    for program in ("ip", "mount-root", "renice", "lxc-start"):
        (folder / program).write_text(f'#!/bin/sh\necho {program} "$@" >> {log}\n')
        (folder / program).chmod(0o755)
    below = f"../../..{group}"  # of /sys/fs/cgroup
    subprocess.run(
        ["sh", "-c", START, "sh", "d-sib-01", folder, A, "/log", below, "mount-root", folder / A],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        check=True,
        timeout=60,
    )
    return log.read_text().replace(str(folder), "/labs").splitlines()


def test_a_living_node_that_was_unplugged_is_plugged_in_again(tmp_path: Path) -> None:
    assert start(tmp_path, populated=1) == ["ip link set d-sib-01 up"]


def test_a_dead_node_is_started_with_a_new_cable(tmp_path: Path) -> None:
    cable, root, priority, container = start(tmp_path, populated=0)
    assert cable == "ip link delete d-sib-01"
    assert root == "mount-root /labs/db-sib-01"
    assert priority.startswith(f"renice -n {CONTROL_PLANE['Nice']} -p ")
    assert container == f"lxc-start --lxcpath /labs --name {A} --daemon --logfile /log --logpriority WARN"
