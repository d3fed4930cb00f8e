"""The promises of the engine over generated platforms: whatever is wanted, whatever somebody did by hand and
wherever the tool was killed, the next run makes it true, says so before, and leaves nothing to do."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import grp
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.converge.apply import apply
from tercet.converge.component import Component
from tercet.converge.events import silent
from tercet.converge.observe import observe
from tercet.converge.order import ancestors, in_order
from tercet.converge.plan import Plan
from tercet.converge.planner import desired, plan
from tercet.converge.requests import Answer, Exec
from tercet.converge.resources import Absent, Directory, File, Object, Resource, Rolling, Standing, Unit
from tercet.converge.watch import path_of

from .systemd import content
from .world import Machine, Part, World

ME, MINE = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
NODES = ("one", "two")


@dataclass(frozen=True)
class Wish:
    """What one component wants of one node. `files` maps a name to (content, restart | reload | none)."""

    files: Mapping[str, tuple[str, str]]
    unit: bool
    active: bool
    purge: bool
    value: str | None
    absent: bool
    rolling: bool


@dataclass(frozen=True)
class Spec:
    """A whole platform: the wishes of each component, and its edges."""

    after: Mapping[str, tuple[str, ...]]
    wishes: Mapping[str, Mapping[str, Wish]]

    def components(self, world: World) -> list[Component]:
        return [
            Part(
                name,
                {node: resources(world.machines[node], name, wish) for node, wish in by_node.items()},
                self.after[name],
            )
            for name, by_node in self.wishes.items()
        ]


def resources(machine: Machine, name: str, wish: Wish) -> Sequence[Resource]:
    """In the order in which a component gives them: directory, files, unit, object."""
    folder, unit = machine.path(f"/etc/{name}"), f"{name}.service"
    definition = machine.path(f"/etc/systemd/system/{unit}")
    files = [
        File(f"{folder}/{file}", text.encode(), mode=0o640, owner=ME, group=MINE)
        for file, (text, _) in wish.files.items()
    ]
    restart = tuple(f"{folder}/{file}" for file, (_, how) in wish.files.items() if how == "restart")
    reload = tuple(f"{folder}/{file}" for file, (_, how) in wish.files.items() if how == "reload")
    wanted: list[Resource] = [Directory(folder, purge=wish.purge, owner=ME, group=MINE), *files]
    if wish.absent:
        wanted.append(Absent(f"{folder}/left-over"))
    if wish.unit:
        lines = ["[Service]", *(f"Reads={path}" for path in restart), *(f"Follows={path}" for path in reload)]
        member = Rolling(name, Exec(("get", "standing")), lambda answer: Standing(answer.text))
        rolling = member if wish.rolling else None
        wanted.append(File(definition, "\n".join(lines).encode(), owner=ME, group=MINE))
        wanted.append(Unit(unit, (definition, *restart), reload, rolling=rolling, active=wish.active))
    if wish.value is not None:
        wanted.append(
            Object(name, Exec(("get", name)), _is_not(wish.value), (Exec(("set", name, wish.value)),), settle=0)
        )
    return wanted


def _is_not(value: str) -> Callable[[Answer], str | None]:
    return lambda answer: None if answer.ok and answer.text == value else f"is {answer.text!r}"


wishes = st.builds(
    Wish,
    files=st.dictionaries(
        st.sampled_from(("a", "b")),
        st.tuples(st.sampled_from(("1", "2")), st.sampled_from(("restart", "reload", "none"))),
        min_size=1,
    ),
    unit=st.sampled_from((True, True, True, False)),
    active=st.sampled_from((True, True, True, False)),
    purge=st.booleans(),
    value=st.none() | st.sampled_from(("x", "y")),
    absent=st.booleans(),
    rolling=st.booleans(),
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    names = [f"c{number}" for number in range(draw(st.integers(1, 3)))]
    after = {name: tuple(name for name in names[:place] if draw(st.booleans())) for place, name in enumerate(names)}
    by_node = {
        name: draw(st.dictionaries(st.sampled_from(NODES), wishes, min_size=1)) for name in draw(st.permutations(names))
    }
    return Spec(after, by_node)


# --- what somebody does by hand ---------------------------------------------------------------------------------


def edit(machine: Machine, name: str) -> None:
    for path in files_of(machine, name)[:1]:
        path.write_text("edited by hand")


def delete(machine: Machine, name: str) -> None:
    for path in files_of(machine, name)[-1:]:
        path.unlink()


def loosen(machine: Machine, name: str) -> None:
    for path in files_of(machine, name):
        path.chmod(0o666)


def replace_by_link(machine: Machine, name: str) -> None:
    for path in files_of(machine, name)[:1]:
        path.unlink()
        path.symlink_to("/dev/null")


def litter(machine: Machine, name: str) -> None:
    folder = Path(machine.path(f"/etc/{name}"))
    if folder.is_dir():
        (folder / "left-over").write_text("")
        (folder / "stranger").mkdir(exist_ok=True)
        (folder / "stranger/inside").write_text("")


def edit_unit(machine: Machine, name: str) -> None:
    path = Path(machine.path(f"/etc/systemd/system/{name}.service"))
    if path.exists():
        path.write_text(path.read_text() + "\nNice=1")


def stop(machine: Machine, name: str) -> None:
    machine.systemd.call(["stop", f"{name}.service"])


def disable(machine: Machine, name: str) -> None:
    machine.systemd.call(["disable", f"{name}.service"])


def mask(machine: Machine, name: str) -> None:
    machine.systemd.service(f"{name}.service").file_state = "masked"


def restart(machine: Machine, name: str) -> None:
    machine.systemd.call(["restart", f"{name}.service"])


def daemon_reload(machine: Machine, name: str) -> None:
    machine.systemd.call(["daemon-reload"])


def fail(machine: Machine, name: str) -> None:
    unit = machine.systemd.service(f"{name}.service")
    unit.active, unit.sub = "failed", "failed"


def reboot(machine: Machine, name: str) -> None:
    machine.reboot()


def change_object(machine: Machine, name: str) -> None:
    machine.objects[name] = "changed by hand"


def files_of(machine: Machine, name: str) -> list[Path]:
    folder = Path(machine.path(f"/etc/{name}"))
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


BY_HAND = (
    edit,
    delete,
    loosen,
    replace_by_link,
    litter,
    edit_unit,
    stop,
    disable,
    mask,
    restart,
    daemon_reload,
    fail,
    reboot,
    change_object,
)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Spec, Spec, list[tuple[Callable[[Machine, str], None], str, str]]]:
    """A platform, what it shall become (often the same, or nearly), and what somebody does in between."""
    first = draw(specs())
    second = first
    changed = draw(st.sampled_from(("nothing", "contents", "everything")))
    if changed == "everything":
        second = draw(specs())
    elif changed == "contents":
        wishes = {
            name: {node: replace(wish, files=draw(redrawn(wish.files))) for node, wish in by_node.items()}
            for name, by_node in first.wishes.items()
        }
        second = Spec(first.after, wishes)
    places = [(node, name) for name, by_node in first.wishes.items() for node in by_node]
    node, name = draw(st.sampled_from(places))
    return first, second, [(act, node, name) for act in draw(st.lists(st.sampled_from(BY_HAND), max_size=4))]


def redrawn(files: Mapping[str, tuple[str, str]]) -> st.SearchStrategy[dict[str, tuple[str, str]]]:
    return st.fixed_dictionaries(
        {k: st.tuples(st.sampled_from(("1", "2")), st.just(how)) for k, (_, how) in files.items()}
    )


# --- the promises -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        world = World(Path(folder), NODES)
        for number, machine in enumerate(world.machines.values()):
            machine.objects["standing"] = "leader" if number == 1 else "follower"
        yield world


async def look(world: World, components: Sequence[Component]) -> Plan:
    wanted = desired(components, world.nodes)
    return plan(components, world.nodes, await observe(world, wanted, world.running, timeout=5), ())


async def converge(world: World, components: Sequence[Component]) -> Plan:
    todo = await look(world, components)
    await apply(todo, components, world.nodes, world, silent)
    return todo


def is_true(world: World, spec: Spec) -> None:
    """All that is wanted is so, and every unit runs with exactly what is on disk."""
    for name, by_node in spec.wishes.items():
        for node, wish in by_node.items():
            machine = world.machines[node]
            folder = Path(machine.path(f"/etc/{name}"))
            for file, (text, _) in wish.files.items():
                assert (folder / file).read_text() == text
                assert not (folder / file).is_symlink()
                assert (folder / file).stat().st_mode & 0o777 == 0o640
            if wish.purge:
                assert {path.name for path in folder.iterdir()} == set(wish.files)
            if wish.absent:
                assert not (folder / "left-over").exists()
            if wish.value is not None:
                assert machine.objects[name] == wish.value
            if wish.unit:
                unit = machine.systemd.service(f"{name}.service")
                assert (unit.active == "active") == wish.active
                assert (unit.file_state == "enabled") == wish.active
                if wish.active:
                    definition = machine.path(f"/etc/systemd/system/{name}.service")
                    for path, text in unit.runs_with.items():
                        assert text == content(Path(definition if path == "its unit file" else path)), path


def everything(machine: Machine) -> dict[str, object]:
    """All of a node that the tool may change, by the words that a plan uses."""
    state: dict[str, object] = {}
    for path in sorted((machine.root / "etc").rglob("*")):
        what = f"{'directory' if path.is_dir() and not path.is_symlink() else 'file'} {path}"
        text = "" if path.is_dir() else str(path.readlink()) if path.is_symlink() else path.read_text()
        state[what] = (path.lstat().st_mode, text)
    for name, unit in machine.systemd.units.items():
        if unit.starts or unit.file_state != "disabled":
            state[f"unit {name}"] = (unit.active, unit.file_state, unit.starts, unit.reloads)
    return state | machine.objects


@settings(max_examples=60, deadline=None)
@given(stories())
def test_a_plan_makes_everything_true_and_changes_nothing_else(
    story: tuple[Spec, Spec, list[tuple[Callable[[Machine, str], None], str, str]]],
) -> None:
    first, second, by_hand = story

    async def run() -> None:
        with a_world() as world:
            await converge(world, first.components(world))
            is_true(world, first)
            assert (await look(world, first.components(world))).empty
            for act, node, name in by_hand:
                act(world.machines[node], name)
            before = {name: everything(machine) for name, machine in world.machines.items()}
            todo = await converge(world, second.components(world))
            is_true(world, second)
            assert (await look(world, second.components(world))).empty
            for node, machine in world.machines.items():
                planned = {change.what for step in todo.steps if step.node == node for change in step.changes}
                after = everything(machine)
                names = before[node].keys() | after.keys()
                touched = {what for what in names if before[node].get(what) != after.get(what)}
                assert not {what for what in touched if not covered(what, planned)}

    asyncio.run(run())


def covered(what: str, planned: set[str]) -> bool:
    """A removed directory is one line of the plan, with all that is in it."""
    path = what.split(" ", 1)[-1]
    return what in planned or any(
        line.startswith("file ") and (path == line[5:] or path.startswith(f"{line[5:]}/")) for line in planned
    )


@settings(max_examples=80, deadline=None)
@given(stories(), st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=3))
def test_killed_anywhere_the_next_run_finishes(
    story: tuple[Spec, Spec, list[tuple[Callable[[Machine, str], None], str, str]]], kills: list[tuple[int, bool]]
) -> None:
    first, second, by_hand = story

    async def run() -> None:
        with a_world() as world:
            await converge(world, first.components(world))
            for act, node, name in by_hand:
                act(world.machines[node], name)
            for at, then_reboot in kills:
                world.effects, world.killed_at = 0, at
                with contextlib.suppress(BaseExceptionGroup):
                    await converge(world, second.components(world))
                world.killed_at = None
                if then_reboot:
                    world.machines[by_hand[0][1] if by_hand else "one"].reboot()
            await converge(world, second.components(world))
            is_true(world, second)
            assert (await look(world, second.components(world))).empty

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(stories(), st.sampled_from(NODES))
def test_while_a_node_is_away_its_groups_are_left_alone_and_its_return_finishes_the_rest(
    story: tuple[Spec, Spec, list[tuple[Callable[[Machine, str], None], str, str]]], away: str
) -> None:
    first, second, by_hand = story

    async def run() -> None:
        with a_world() as world:
            await converge(world, first.components(world))
            for act, node, name in by_hand:
                act(world.machines[node], name)
            gone = world.machines[away]
            before, world.log = everything(gone), []
            ran = {(node, name) for node, name in units(world) if runs(world, node, name)}
            gone.reachable = False
            todo = await converge(world, second.components(world))
            assert everything(gone) == before
            disturbed = {tuple(line.split()[::2]) for line in world.did("restart", "stop")}
            for name, by_node in second.wishes.items():
                shared = all(node in by_node and by_node[node].unit and by_node[node].rolling for node in NODES)
                for node in by_node if shared else ():
                    assert (node, f"{name}.service") not in disturbed & ran, (todo.waiting, world.log)
            again = await look(world, second.components(world))
            assert again.empty, "what could be done was done"
            gone.reachable = True
            await converge(world, second.components(world))
            is_true(world, second)
            assert (await look(world, second.components(world))) == Plan()

    asyncio.run(run())


def units(world: World) -> set[tuple[str, str]]:
    return {(node, name) for node, machine in world.machines.items() for name in machine.systemd.units}


def runs(world: World, node: str, name: str) -> bool:
    return world.machines[node].systemd.service(name).active == "active"


@pytest.mark.parametrize("booted", [False, True], ids=["started by the tool", "started by boot"])
@pytest.mark.parametrize("how", ["restart", "reload", "both"])
@pytest.mark.parametrize("afterwards", ["nothing", "reboot", "restart by hand"])
def test_killed_before_every_single_effect(booted: bool, how: str, afterwards: str) -> None:
    """Every point at which the tool can die in a step that changes files under a running unit, one by one."""

    def wish(version: str) -> Spec:
        old = {"a": version if how != "reload" else "1", "b": version if how != "restart" else "1"}
        files = {"a": (old["a"], "restart"), "b": (old["b"], "reload")}
        return Spec({"c0": ()}, {"c0": {"one": Wish(files, True, True, True, version, True, False)}})

    async def killed_at(effect: int) -> bool:
        with a_world() as world:
            machine = world.machines["one"]
            await converge(world, wish("1").components(world))
            if booted:
                machine.reboot()
            world.effects, world.killed_at = 0, effect
            with contextlib.suppress(BaseExceptionGroup):
                await converge(world, wish("2").components(world))
            done, world.killed_at = world.effects < effect, None
            if afterwards == "reboot":
                machine.reboot()
            elif afterwards == "restart by hand":
                machine.systemd.restart("c0.service")
            await converge(world, wish("2").components(world))
            is_true(world, wish("2"))
            assert (await look(world, wish("2").components(world))).empty
            return done

    effects = itertools.takewhile(lambda effect: not asyncio.run(killed_at(effect)), itertools.count(1))
    assert len(list(effects)) >= 6


@given(specs())
@settings(max_examples=30, deadline=None)
def test_the_order_respects_the_graph(spec: Spec) -> None:
    async def run() -> None:
        with a_world() as world:
            components = spec.components(world)
            todo = await look(world, components)
            before = ancestors(in_order(components))
            seen: list[str] = []
            for step in todo.steps:
                assert not {name for name in before if step.component in before[name]} & set(seen)
                seen.append(step.component)
            assert todo == await look(world, components)

    asyncio.run(run())


def test_what_is_generated_is_not_trivial() -> None:
    """The promises above would hold for an engine that does nothing if nothing were ever wanted."""
    with a_world() as world:
        wish = Wish({"a": ("1", "restart")}, True, True, True, "x", True, True)
        todo = asyncio.run(converge(world, Spec({"c0": ()}, {"c0": dict.fromkeys(NODES, wish)}).components(world)))
        assert [step.node for step in todo.steps] == list(NODES)
        assert {path_of(c.resource) is not None for s in todo.steps for c in s.changes if c.resource} == {True, False}
