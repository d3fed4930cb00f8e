"""Waiting for conditions: how long, how often, and of whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tercet.converge.component import Condition, Deviating, Passing, Readings, State, Waiting
from tercet.converge.gates import explain, wait_for
from tercet.converge.requests import Exec

from .world import World

ASK = {name: {"state": Exec(("get", "state")), "other": Exec(("get", "other"))} for name in ("one", "two", "three")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, list(ASK))
    for machine in world.machines.values():
        machine.objects = {"state": "up", "other": "up"}
    return world


def up(node: str, question: str = "state") -> Condition:
    def check(readings: Readings) -> State:
        found = readings.get(node, question)
        return Passing(node) if found.text == "up" else Waiting(f"{node} is {found.text or found.why()}")

    return Condition(f"{node} is up", check, ((node, "a.service"),))


def all_up(nodes: Sequence[str]) -> Condition:
    """Stops at the first that is not, as conditions do."""

    def check(readings: Readings) -> State:
        return next((s for n in nodes if isinstance(s := up(n).check(readings), Waiting)), Passing())

    return Condition("all are up", check)


def asked(world: World) -> list[list[int]]:
    """How many requests each node had to answer, look by look."""
    return [[len(call["requests"]) for call in machine.calls] for machine in world.machines.values()]


async def test_one_look_is_enough_when_all_is_well(world: World) -> None:
    judged = await wait_for([up("one"), up("two")], ASK, world, deadline=5)
    assert [state for _, state in judged] == [Passing("one"), Passing("two")]
    assert asked(world) == [[2], [2], [2]]


async def test_it_ends_without_a_pause_when_all_is_well(world: World) -> None:
    began = time.monotonic()
    await wait_for([up("one")], ASK, world, deadline=30, interval=20)
    assert time.monotonic() - began < 10


async def test_a_node_that_is_away_is_neither_asked_nor_judged(world: World) -> None:
    def check(readings: Readings) -> State:
        present = readings.present(ASK)
        down = [node for node in present if readings.get(node, "state").text != "up"]
        return Waiting(f"{', '.join(down)} down") if down else Passing(", ".join(present))

    world.machines["two"].objects["state"] = "down"
    away = frozenset({"two"})
    judged = await wait_for([Condition("all", check)], ASK, world, deadline=5, away=away)
    assert [state for _, state in judged] == [Passing("one, three")]
    assert asked(world) == [[2], [], [2]]
    world.machines["three"].objects["state"] = "down"
    judged = await wait_for([Condition("all", check, up("two").units)], ASK, world, deadline=0, away=away)
    assert [state for _, state in judged] == [Waiting("three down")]
    assert await explain(judged, world, away=away) == "all: three down\ntry: tercet status"
    assert world.machines["two"].calls == []


async def test_what_passed_is_not_asked_again(world: World) -> None:
    world.machines["two"].objects["state"] = "starting"
    heard: list[str] = []
    task = asyncio.create_task(
        wait_for(
            [up("one"), up("two")],
            ASK,
            world,
            deadline=60,
            interval=0.01,
            waiting=lambda _, state: heard.append(state.reason),
        )
    )
    async with asyncio.timeout(60):
        while len(world.machines["two"].calls) < 4:
            await asyncio.sleep(0.001)
    world.machines["two"].objects["state"] = "up"
    judged = await task
    assert [state for _, state in judged] == [Passing("one"), Passing("two")]
    assert heard == ["two is starting"]
    assert asked(world)[0] == asked(world)[2] == [2]
    assert set(asked(world)[1][1:]) == {1}


async def test_a_condition_that_gets_further_is_judged_by_a_full_look(world: World) -> None:
    world.machines["one"].objects["state"] = "down"
    heard: list[str] = []
    task = asyncio.create_task(
        wait_for(
            [all_up(list(ASK))],
            ASK,
            world,
            deadline=60,
            interval=0.01,
            waiting=lambda _, state: heard.append(state.reason),
        )
    )
    async with asyncio.timeout(60):
        while len(world.machines["one"].calls) < 3:
            await asyncio.sleep(0.001)
    world.machines["one"].objects["state"] = "up"
    [(_, state)] = await task
    assert state == Passing()
    assert heard == ["one is down"]
    assert asked(world)[1:] == [[2, 2], [2, 2]]


async def test_the_deadline_ends_it_with_the_last_reason(world: World) -> None:
    world.machines["two"].reachable = False
    started = time.monotonic()
    judged = await wait_for([up("one"), up("two")], ASK, world, deadline=0.5, interval=0.05)
    assert 0.4 < time.monotonic() - started < 60
    assert judged[1][1] == Waiting("two is the node did not answer")


async def test_a_condition_may_read_what_nobody_asks(world: World) -> None:
    judged = await wait_for([up("one", "unheard of")], ASK, world, deadline=0.2, interval=0.05)
    assert judged[0][1] == Waiting("one is the node did not answer")
    assert len(world.machines["one"].calls) < 20


async def test_nothing_waits_for_a_declared_deviation(world: World) -> None:
    declared = Condition("x", lambda _: Deviating("this proxy cannot"))
    assert (await wait_for([declared], ASK, world, deadline=60))[0][1] == Deviating("this proxy cannot")


async def test_no_conditions_ask_nothing(world: World) -> None:
    assert await wait_for([], ASK, world, deadline=60) == []
    assert asked(world) == [[], [], []]


async def test_it_can_be_called_off(world: World) -> None:
    world.machines["one"].objects["state"] = "down"
    looks = iter((True, True, False))
    await wait_for([up("one")], ASK, world, deadline=60, interval=0.01, go_on=lambda: next(looks))
    assert len(world.machines["one"].calls) == 3


def journal(node: str, _argv: Sequence[str], _stdin: bytes) -> tuple[int, str]:
    return 0, f"{node} said something\n{node} crashed\n"


async def test_a_failure_is_explained(world: World) -> None:
    world.handlers["journalctl"] = journal
    for name in ("one", "two"):
        unit = world.machines[name].systemd.service("a.service")
        unit.active, unit.sub = ("active", "running") if name == "one" else ("failed", "failed")
    both = Condition("both are up", lambda _: Waiting("not enough"), (("one", "a.service"), ("two", "a.service")))
    text = await explain([(both, Waiting("not enough")), (up("one"), Passing())], world)
    assert text.splitlines() == [
        "both are up: not enough",
        "a.service on two is failed (failed, result exit-code); its journal ends:",
        "  two said something",
        "  two crashed",
        "try: tercet exec two -- journalctl --no-pager --lines=100 --unit=a.service",
    ]


async def test_a_failure_of_units_that_all_run_shows_the_node_that_is_named(world: World) -> None:
    world.handlers["journalctl"] = journal
    for machine in world.machines.values():
        machine.systemd.service("a.service").active = "active"
    units = tuple((name, "a.service") for name in world.machines)
    text = await explain([(Condition("c", lambda _: Waiting(""), units), Waiting("three is no member"))], world)
    assert "a.service on three is active" in text
    assert "on one" not in text
    assert await explain([(up("one"), Passing()), (up("two"), Deviating("no"))], world) == ""


async def test_a_condition_without_units_points_to_status(world: World) -> None:
    text = await explain([(Condition("c", lambda _: Waiting("x")), Waiting("x"))], world)
    assert text == "c: x\ntry: tercet status"
