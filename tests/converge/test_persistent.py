"""Interpreters that stay, on processes of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.node import ARGV
from tercet.converge.persistent import PersistentAgents


class Machine:
    """A fleet whose nodes are all this machine; counts what it started."""

    def __init__(self) -> None:
        self.spawned: list[asyncio.subprocess.Process] = []
        self.ran: list[tuple[str, ...]] = []

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        self.ran.append(tuple(argv))
        return Completed(0, b"", b"")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        if node == "dark":
            raise Unreachable("dark: the container does not run")
        pipe = asyncio.subprocess.PIPE
        self.spawned.append(await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe))
        return self.spawned[-1]


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    machine = Machine()
    yield machine
    assert all(process.returncode is not None for process in machine.spawned), "one was left running"


async def say(fleet: PersistentAgents, program: str, timeout: float = 60, node: str = "one") -> Completed:
    return await fleet.run(node, ARGV, stdin=program.encode(), timeout=timeout)


async def test_programs_of_a_node_follow_one_another_in_one_interpreter(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        first = await say(fleet, "import sys; sys.kept = 'é'; print('one')")
        second = await say(fleet, "import sys; print(sys.kept)")
        assert (first.status, first.stdout, second.stdout.decode()) == (0, b"one\n", "é\n")
        assert len(machine.spawned) == 1


async def test_side_by_side_each_has_its_own_and_nodes_share_none(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        slow = "import time; time.sleep(0.3); print('slow')"
        done = await asyncio.gather(say(fleet, slow), say(fleet, "print('quick')"), say(fleet, slow, node="two"))
        assert [each.stdout for each in done] == [b"slow\n", b"quick\n", b"slow\n"]
        assert len(machine.spawned) == 3


async def test_what_two_cannot_take_goes_the_ordinary_way(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        await asyncio.gather(*(say(fleet, "import time; time.sleep(0.3)") for _ in range(4)))
        assert (len(machine.spawned), machine.ran) == (2, [ARGV, ARGV])
        await asyncio.gather(*(say(fleet, "print(1)") for _ in range(2)))
        assert (len(machine.spawned), len(machine.ran)) == (2, 2)


async def test_a_long_answer_is_whole(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        assert (await say(fleet, "print('x' * 3_000_000, end='')")).stdout == b"x" * 3_000_000


async def test_a_program_that_fails_says_why_and_the_next_one_runs(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        failed = await say(fleet, "raise ValueError('broken')")
        assert failed.status == 1 and b"ValueError: broken" in failed.stderr
        assert (await say(fleet, "print(1)")).stdout == b"1\n"
        assert len(machine.spawned) == 1


async def test_one_that_hangs_costs_its_time_limit_and_is_killed(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        with pytest.raises(Unreachable, match=r"did not end within 2 s"):
            await say(fleet, "import time; time.sleep(600)", 2)
        assert machine.spawned[0].returncode is not None
        assert (await say(fleet, "print(1)")).stdout == b"1\n"


async def test_one_that_was_killed_meanwhile_is_replaced(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        await say(fleet, "print(1)")
        machine.spawned[0].kill()
        await machine.spawned[0].wait()
        assert (await say(fleet, "print(2)")).stdout == b"2\n"


async def test_one_that_dies_over_its_program_is_unreachable(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        with pytest.raises(Unreachable, match="one: cannot run a program there"):
            await say(fleet, "import os; os._exit(9)")
        with pytest.raises(Unreachable, match="does not run"):
            await say(fleet, "print(1)", node="dark")


async def test_a_cancelled_caller_leaves_nobody_behind(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        task = asyncio.create_task(say(fleet, "import time; time.sleep(60)"))
        while not machine.spawned:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_is_no_agent_goes_the_ordinary_way(machine: Machine) -> None:
    async with PersistentAgents(machine) as fleet:
        await fleet.run("one", ("sha256sum", "/bin/true"), timeout=5)
    assert machine.ran == [("sha256sum", "/bin/true")]
    assert machine.spawned == []
