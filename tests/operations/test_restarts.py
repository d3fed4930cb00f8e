"""Restarts of containers: one at a time, gated by health, and what is said when they break off."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from tercet.converge.apply import apply
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event, silent
from tercet.converge.observe import observe
from tercet.converge.plan import Change
from tercet.converge.planner import desired, plan
from tercet.converge.resources import File, Unit
from tercet.converge.target import Kind, Target, Verb
from tercet.errors import TercetError
from tercet.operations.restarts import restart
from tercet.providers.base import Provider
from tests.converge.world import Part, World

NAMES = ("standby", "other", "primary")
OWN = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
CHANGES = [Change(Verb.RESTART, Target(Kind.CONTAINER, name), "its features", restarts=name) for name in NAMES]


class Containers:
    """A provider of which `broken` cannot be restarted, and `late` comes back without its unit."""

    def __init__(self, world: World, broken: str = "", late: str = "") -> None:
        self.world, self.broken, self.late = world, broken, late

    async def prepare(self, changes: Sequence[Change], emit: Emit) -> None:
        (change,) = changes
        if change.restarts == self.broken:
            raise TercetError(f"restart {change.what}: startup failed")
        self.world.log.append((change.restarts, "reboot"))
        self.world.machines[change.restarts].reboot()
        if change.restarts == self.late:
            self.world.machines[change.restarts].systemd.stop("a.service")


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Three nodes on which the unit a.service runs."""
    world = World(tmp_path, NAMES)
    part = component(world)
    seen = await observe(world, desired([part], world.nodes), world.running, timeout=5)
    await apply(plan([part], world.nodes, seen, ()), [part], world.nodes, world, silent)
    world.log.clear()
    return world


def component(world: World, state: State | None = None) -> Part:
    def check(_: Readings) -> State:
        world.log.append(("", "gate"))
        return state or Passing()

    wants = {}
    for node, machine in world.machines.items():
        own = machine.path("/etc/systemd/system/a.service")
        wants[node] = [File(own, b"[Service]", **OWN), Unit("a.service", restart_on=(own,))]
    return Part("a", wants, gate=[Condition("members", check)])


async def restarted(
    world: World, part: Part, containers: Containers, emit: Emit = silent, *, away: frozenset[str] = frozenset()
) -> None:
    changes = [change for change in CHANGES if change.restarts not in away]
    provider = cast(Provider, containers)
    await restart(changes, [part], world.nodes, provider=provider, fleet=world, emit=emit, gate_timeout=0.1, away=away)


async def test_one_after_another_in_the_plans_order_each_between_two_gates(world: World) -> None:
    await restarted(world, component(world), Containers(world))
    assert [what if not node else f"{node} {what}" for node, what in world.log] == [
        "gate",
        "standby reboot",
        "gate",
        "other reboot",
        "gate",
        "primary reboot",
        "gate",
    ]


async def test_nothing_is_restarted_and_nothing_asked_where_nothing_is_to_be(world: World) -> None:
    provider = cast(Provider, Containers(world))
    await restart([], [component(world)], world.nodes, provider=provider, fleet=world, emit=silent, gate_timeout=1)
    assert world.log == []


async def test_nothing_that_serves_is_restarted_while_another_is_not_well(world: World) -> None:
    with pytest.raises(TercetError) as caught:
        await restarted(world, component(world, Waiting("two of three voters")), Containers(world))
    assert world.did("reboot") == []
    assert "the platform is not healthy after 0.1 s, which a restart requires\nmembers: two of three voters" in str(
        caught.value
    )
    assert "Restarted: none. Not restarted: standby, other, primary; `tercet apply` continues" in str(caught.value)


async def test_the_next_is_not_restarted_before_the_units_of_the_last_run_again(world: World) -> None:
    events: list[Event] = []
    with pytest.raises(TercetError) as caught:
        await restarted(world, component(world), Containers(world, late="standby"), events.append)
    assert world.did("reboot") == ["standby reboot"]
    assert "standby: all units run: a.service is inactive" in str(caught.value)
    assert "Restarted: standby. Not restarted: other, primary" in str(caught.value)
    assert "waiting: standby: all units run: a.service is inactive" in [event.text for event in events]


async def test_the_units_of_a_node_that_is_away_are_not_waited_for(world: World) -> None:
    world.machines["other"].reachable = False
    await restarted(world, component(world), Containers(world), away=frozenset({"other"}))
    assert world.did("reboot") == ["standby reboot", "primary reboot"]
    with pytest.raises(TercetError, match="other does not answer"):
        await restarted(world, component(world), Containers(world))


async def test_a_restart_that_fails_is_the_last_one(world: World) -> None:
    with pytest.raises(TercetError) as caught:
        await restarted(world, component(world), Containers(world, broken="other"))
    assert world.did("reboot") == ["standby reboot"]
    assert str(caught.value) == (
        "restart container other: startup failed\n"
        "Restarted: standby. Not restarted: other, primary; `tercet apply` continues"
    )
