"""Healing always happens: wherever making or healing fails, and whenever the operator interrupts."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tercet import inventory
from tercet.converge.fleet import Completed, Unreachable
from tercet.converge.requests import Exec
from tercet.drills.run.healing import (
    Healing,
    HealingError,
    ImpossibleError,
    possible,
    roaming,
    victims,
)
from tercet.drills.scenario.actions import GRACE_S, Action, Fault, FromOutside, OnNode, from_outside
from tercet.drills.scenario.fault import Facts
from tercet.drills.scenario.file import built_in
from tercet.drills.scenario.model import fault_of
from tercet.drills.scenario.targets import View
from tercet.errors import TercetError
from tercet.inventory.load import load as load_inventory
from tercet.inventory.providers import Capability
from tercet.providers.base import Faults


@dataclass
class World:
    """A fleet and a provider in one that write down what they are asked for, and fail when told to."""

    fail_at: int = -1
    pause_at: int = -1
    error: BaseException = field(default_factory=lambda: Unreachable("the node is silent"))
    done: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    paused: asyncio.Event = field(default_factory=asyncio.Event)
    lacking: Mapping[Capability, str] = field(default_factory=dict)

    async def _act(self, what: str) -> None:
        number = len(self.tried)
        self.tried.append(what)
        if number == self.pause_at:
            self.paused.set()
            await asyncio.sleep(0.05)
        if number == self.fail_at:
            raise self.error
        self.done.append(what)

    async def run(self, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        await self._act(f"{argv[-1]} on {node}")
        return Completed(0, b"", b"")

    async def spawn(self, node: str, argv: Sequence[str]) -> asyncio.subprocess.Process:
        raise NotImplementedError

    async def kill(self, nodes: Sequence[str], *, seconds: float) -> None:
        await self._act(f"kill {','.join(nodes)} {seconds:g}")

    async def start(self, nodes: Sequence[str]) -> None:
        await self._act(f"start {','.join(nodes)}")

    async def freeze(self, nodes: Sequence[str], *, seconds: float) -> None:
        await self._act(f"freeze {','.join(nodes)} {seconds:g}")

    async def thaw(self, nodes: Sequence[str]) -> None:
        await self._act(f"thaw {','.join(nodes)}")

    async def cut(self, source: str, target: str | None, *, seconds: float, both: bool = True) -> None:
        await self._act(f"cut {source} {target} {both} {seconds:g}")

    async def join(self, source: str, target: str | None, *, both: bool = True) -> None:
        await self._act(f"join {source} {target} {both}")

    async def faults_active(self) -> tuple[object, ...]:
        return ()

    async def heal_all(self) -> None:
        raise NotImplementedError


def on(node: str, word: str) -> OnNode:
    return OnNode(node, Exec(("sh", "-c", word)))


KILL_AB = from_outside(Faults.kill, ("a", "b"), seconds=9)
CUT_XY = from_outside(Faults.cut, "x", "y", seconds=9)
THREE = (
    Fault("site killed", ("a", "b"), (KILL_AB,), (from_outside(Faults.start, ("a", "b")),)),
    Fault(
        "patroni frozen",
        ("c",),
        inject=(on("c", "stop"),),
        heal=(on("c", "cont"), on("c", "check")),
        arm=(on("c", "timer"),),
    ),
    Fault("link cut", (), (CUT_XY,), (from_outside(Faults.join, "x", "y"),)),
)
EVERYTHING = [
    "kill a,b 9",
    "timer on c",
    "stop on c",
    "cut x y True 9",
    "join x y True",
    "cont on c",
    "check on c",
    "start a,b",
]


async def drill(world: World, told: list[tuple[str, str]]) -> None:
    def record(action: str, fault: Fault, detail: str) -> None:
        told.append((action, fault.title))

    async with Healing(world, world, record) as healing:
        for fault in THREE:
            await healing.inject(fault)


async def test_all_is_healed_in_reverse_order() -> None:
    world, told = World(), list[tuple[str, str]]()
    await drill(world, told)
    assert world.done == EVERYTHING
    assert told == [
        *[(action, fault.title) for fault in THREE for action in ("injecting", "injected")],
        *[(action, fault.title) for fault in reversed(THREE) for action in ("healing", "healed")],
    ]


def remedies(made: int) -> list[str]:
    """What must be tried to heal the first `made` faults."""
    return [
        word
        for number in reversed(range(made))
        for word in (["start a,b"], ["cont on c", "check on c"], ["join x y True"])[number]
    ]


@pytest.mark.parametrize(("step", "begun"), [(0, 1), (1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize("error", [Unreachable("silent"), RuntimeError("a bug"), KeyboardInterrupt()])
async def test_a_failure_while_making_heals_what_was_begun(step: int, begun: int, error: BaseException) -> None:
    world = World(fail_at=step, error=error)
    with pytest.raises(type(error)):
        # A KeyboardInterrupt must not leave the test's own event loop, hence the task's result is asked here.
        await drill(world, [])
    assert world.tried[: step + 1] == EVERYTHING[: step + 1]
    assert world.tried[step + 1 :] == remedies(begun)


@pytest.mark.parametrize("step", [4, 5, 6, 7])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unreachable("the node is silent"), "the node is silent"),
        (OSError(28, "No space left on device"), "OSError.*No space left"),
        (RuntimeError("a bug"), "RuntimeError: a bug"),
        (ExceptionGroup("two", [Unreachable("a is silent"), ValueError("b")]), "a is silent; ValueError: b"),
    ],
)
async def test_every_remedy_is_tried_even_if_one_fails(step: int, error: Exception, said: str) -> None:
    world, told = World(fail_at=step, error=error), list[tuple[str, str]]()
    with pytest.raises(HealingError, match=rf"{said}.*run `tercet up`"):
        await drill(world, told)
    assert world.tried == EVERYTHING
    assert [action for action, _ in told].count("heal failed") == 1


@pytest.mark.parametrize("step", range(8))
async def test_an_interruption_at_any_step_heals_everything_that_was_begun(step: int) -> None:
    world = World(pause_at=step)
    task = asyncio.create_task(drill(world, []))
    await world.paused.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    begun = {0: 1, 1: 2, 2: 2}.get(step, 3)
    assert world.tried[-len(remedies(begun)) :] == remedies(begun)
    assert [word for word in world.done if word in remedies(3)] == remedies(begun)


async def test_an_impatient_operator_cannot_stop_the_healing() -> None:
    world = World(pause_at=5)
    task = asyncio.create_task(drill(world, []))
    await world.paused.wait()
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0.002)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.done == EVERYTHING


async def test_what_cannot_be_recorded_is_healed_nevertheless() -> None:
    world = World()

    def full(action: str, fault: Fault, detail: str) -> None:
        if action in ("healing", "healed"):
            raise OSError(28, "No space left on device")

    with pytest.raises(HealingError, match=r"“healed: site killed” could not be recorded: OSError.*No space"):
        async with Healing(world, world, full) as healing:
            for fault in THREE:
                await healing.inject(fault)
    assert world.done == EVERYTHING


async def test_an_error_and_a_failed_healing_are_told_together() -> None:
    world = World(fail_at=5)
    with pytest.raises(HealingError, match=r"the platform is sick\. Besides, .*the node is silent"):
        async with Healing(world, world, lambda *_: None) as healing:
            for fault in THREE:
                await healing.inject(fault)
            raise TercetError("the platform is sick")


async def test_a_second_error_does_not_hide_the_first() -> None:
    world = World(fail_at=5)
    with pytest.raises(ValueError, match="the first") as caught:
        async with Healing(world, world, lambda *_: None) as healing:
            for fault in THREE:
                await healing.inject(fault)
            raise ValueError("the first")
    assert "the node is silent" in caught.value.__notes__[0]


async def test_a_fault_that_cannot_be_made_touches_nothing() -> None:
    world = World()

    async def refuse(node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        return Completed(3, b"", b"its data lies on overlayfs\n")

    world.run = refuse  # type: ignore[method-assign]
    fault = Fault("disk full", ("c",), (on("c", "fill"),), (on("c", "rm"),), check=(on("c", "check"),))
    with pytest.raises(ImpossibleError, match="disk full” on c: its data lies on overlayfs"):
        await possible([THREE[0], fault], world)
    assert world.tried == []


async def test_a_command_that_fails_is_a_failure() -> None:
    world = World()

    async def fail(node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        return Completed(1, b"", b"")

    world.run = fail  # type: ignore[method-assign]
    with pytest.raises(HealingError, match=r"make “patroni frozen” on c: exit status 1 without output\. Besides"):
        async with Healing(world, world, lambda *_: None) as healing:
            await healing.inject(THREE[1])


async def test_healing_early_leaves_nothing_for_the_end() -> None:
    world = World()
    async with Healing(world, world, lambda *_: None) as healing:
        await healing.inject(THREE[0])
        assert healing.standing == THREE[:1]
        await healing.heal()
        assert healing.standing == ()
    assert world.done == ["kill a,b 9", "start a,b"]


@pytest.fixture(scope="module")
def view() -> View:
    platform = load_inventory(Path(inventory.__file__).parent / "default.yml")
    return View(platform, "db-sib-01", ("db-sib-03", "db-fsn-01"), "consul-nomad-fsn-01")


FACTS = Facts("pgcat", "proposalsapp")


def every_built_in_fault(view: View) -> list[tuple[str, Fault]]:
    number = count(1)
    return [
        (f"{scenario.name} {index}", model.fault(view, FACTS, next(number)))
        for scenario in built_in().values()
        for index, model in enumerate(scenario.faults)
    ]


def test_what_limits_a_fault_is_there_before_it(view: View) -> None:
    for name, fault in every_built_in_fault(view):
        if fault.title.startswith("switchover"):
            continue
        assert fault.heal, name
        if any(isinstance(action, OnNode) for action in fault.inject):
            assert any("systemd-run" in action.request.argv[-1] for action in fault.arm), name
        for action in fault.inject:
            if isinstance(action, FromOutside):
                assert dict(action.keywords)["seconds"] > GRACE_S, name


def scripts(actions: Sequence[Action]) -> list[str]:
    return [str(a.request.argv[-1]) for a in actions if isinstance(a, OnNode) and a.request.argv[0] == "sh"]


def test_every_script_is_a_script(view: View) -> None:
    for name, fault in every_built_in_fault(view):
        for script in scripts((*fault.check, *fault.arm, *fault.inject, *fault.heal)):
            read = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True, timeout=60, check=False)
            assert read.returncode == 0, f"{name}: {read.stderr}"


def test_the_timer_runs_what_the_tool_runs(view: View) -> None:
    for name, fault in every_built_in_fault(view):
        for timer, heal in zip(scripts(fault.arm), scripts(fault.heal), strict=True):
            remedy = heal.partition("; status=$?")[0]
            quoted = timer.partition("/bin/sh -c ")[2]
            unquoted = subprocess.run(
                ["sh", "-c", f"printf %s {quoted}"], check=True, capture_output=True, text=True, timeout=60
            )
            assert unquoted.stdout == remedy, name


def test_the_timer_is_dismissed_only_when_the_remedy_has_worked(tmp_path: Path, view: View) -> None:
    for name, fault in every_built_in_fault(view):
        for script in scripts(fault.heal):
            for works in (True, False):
                log = tmp_path / "log"
                log.write_text("")
                # The unit's start is the remedy's last word; it succeeds or fails as told.
                says = f'systemctl() {{ echo "$*" >> {log}; [ "$1" != start ] || {"true" if works else "false"}; }}; '
                harmless = f"{says}kill() {{ :; }}; rm() {{ :; }}; {script}"
                done = subprocess.run(["sh", "-c", harmless], timeout=60, check=False)
                assert (done.returncode == 0) == works, name
                assert ("stop tercet-heal" in log.read_text()) == works, name


def test_a_frozen_process_is_thawed_by_its_remedy(tmp_path: Path, view: View) -> None:
    """The scripts themselves, on a process of ours instead of a postmaster."""
    model = fault_of(hang="postmaster on the primary")
    fault = model.fault(view, FACTS, 1)
    with subprocess.Popen(["sleep", "600"]) as process:
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\nmore\n")

        def run(script: str) -> None:
            local = script.replace("/var/lib/postgresql/17/tercet/postmaster.pid", str(tmp_path / "postmaster.pid"))
            local = local.replace("/run/tercet-frozen-1", str(tmp_path / "frozen")).replace("systemctl", "true")
            subprocess.run(["sh", "-c", local], check=True, timeout=60)

        def becomes(state: str) -> bool:
            end = time.monotonic() + 60
            while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
                if time.monotonic() > end:
                    return False
                time.sleep(0.01)
            return True

        try:
            run(scripts(fault.inject)[0])
            assert becomes("T")
            (tmp_path / "postmaster.pid").write_text("1\n")  # a new postmaster has taken over
            run(scripts(fault.heal)[0])
            assert becomes("S")
            run(scripts(fault.heal)[0])  # idempotent
        finally:
            process.kill()


def test_the_words_become_the_right_faults(view: View) -> None:
    faults = dict(every_built_in_fault(view))
    site = ("consul-nomad-sib-01", "apps-sib-01", "db-sib-01")
    assert faults["site-killed 0"].title == "site sib-01 killed"
    assert faults["site-killed 0"].nodes == site
    assert faults["site-killed 0"].sites == {"sib-01"}
    assert faults["site-cut 0"].inject == (from_outside(Faults.cut, "sib-01", None, seconds=90),)
    assert faults["link-cut-one-way 0"].inject == (
        from_outside(Faults.cut, "sib-01", "sib-03", both=False, seconds=55),
    )
    assert faults["node-killed 0"].sites == frozenset()
    assert faults["standbys-lost 0"].nodes == ("db-sib-03", "db-fsn-01")
    assert faults["control-plane-gone 0"].nodes == ("world",)
    assert faults["proxy-killed 0"].title == "proxy of apps-sib-01 killed"
    assert "pgcat.service" in scripts(faults["proxy-killed 0"].inject)[0]
    assert victims([faults["site-killed 0"], faults["standbys-lost 0"]]) == {*site, "db-sib-03", "db-fsn-01"}
    blind = fault_of(crash="tailscaled on apps at site of a standby").fault(view, FACTS, 1)
    assert blind.roaming == {"sib-03"} and not blind.sites
    assert roaming([faults["site-killed 0"], faults["proxy-killed 0"], faults["patroni-killed 0"]]) == {"sib-01"}
    held = scripts(faults["consul-server-killed 0"].inject)[0]
    assert "--signal=KILL consul.service; systemctl stop consul.service" in held


def test_what_makes_no_sense_is_refused(view: View) -> None:
    with pytest.raises(TercetError, match="found sib-01 twice"):
        fault_of(cut=("site of the primary", "site sib-01")).fault(view, FACTS, 1)
    with pytest.raises(TercetError, match="the primary is at sib-01 already"):
        fault_of(switchover="site sib-01").fault(view, FACTS, 1)
