"""From nothing to a platform and back: broken-off runs, a dying node, two labs side by side, what is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tercet.providers.lab.cgroup import Cgroups, kill
from tests.lab.conftest import UP_S, Lab, is_change, kill_group, make_lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3 * 3600)]  # the first one raises a platform some fifteen times

# All that a first `up` does. What does nothing then, since Patroni creates the cluster with its settings:
# "patroni-settings", "patroni-restarts" and "patroni-lowered", which a changed inventory sets to work.
PHASES = {
    "image",
    "containers",
    "headscale",
    "tailscale",
    "firewall",
    "guard",
    "consul",
    "dcs",
    "nomad",
    "patroni",
    "sentinel",
    "application",
    "proxy",
    "verify",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Nothing, at first. Each test goes on with what the one before it has left, and can do without."""
    lab = make_lab(tmp_path_factory.mktemp("life"), "t-life")
    lab.call("down", "--yes")
    try:
        yield lab
    finally:
        lab.call("down", "--yes", expect=None)


@dataclass(frozen=True)
class Broken:
    """A run that was killed: in which phase, and which others had work under way beside it."""

    phase: str
    beside: frozenset[str]


def work(event: dict[str, Any]) -> bool:
    """The event tells of a piece of work done, with more of its phase to come."""
    match event["phase"]:
        case "image":
            return event["state"] == "progress"
        case "containers":
            return event["state"] == "done" and bool(event["node"])
        case "verify":
            return event["state"] == "done"
    return is_change(event)


def break_off(lab: Lab, wanted: Callable[[str], bool]) -> Broken | None:
    """Start `up` and kill -9 it at the first piece of work in a phase that is wanted; None if it ended well before."""
    under_way = set[str]()

    def now(event: dict[str, Any]) -> bool:
        if event["state"] == "started" and event["text"].endswith(" changes"):
            under_way.add(event["phase"])
        if event["state"] in ("done", "failed"):
            under_way.discard(event["phase"])
        return work(event) and wanted(event["phase"])

    with lab.running("up") as run:
        event = run.until(now)
        if event is None:
            status, said = run.end()
            assert status == 0, f"`up` left with {status}:\n{said[-6000:]}"
            return None
        assert run.process.poll() is None, "it ended before it was killed"
        kill_group(run.process)
    return Broken(event["phase"], frozenset(under_way))


def break_off_in_each(lab: Lab, phases: set[str]) -> tuple[set[str], set[str]]:
    """Kill `up` once in each phase that has work, until one ends well: those phases, and all that had work under way.

    What runs beside a killed phase may have nothing left for the next run: a unit that was told to start does so.
    """
    killed, hit = set[str](), set[str]()
    while broken := break_off(lab, lambda phase: phase in phases - killed):
        killed.add(broken.phase)
        hit |= {broken.phase, *broken.beside}
    return killed, hit


def test_up_killed_at_every_phase_is_finished_by_the_next(lab: Lab) -> None:
    killed, hit = break_off_in_each(lab, PHASES)
    print(f"killed in {sorted(killed)}, beside them in {sorted(hit - killed)}")
    assert hit >= PHASES
    assert killed >= {"image", "containers", "headscale", "tailscale", "verify"}, "nothing runs beside these"
    assert lab.plan()["empty"]

    # A lower value is taken by the primary first, and then by the standbys, whose phase is "patroni-lowered".
    lab.edit(lambda text: text.replace("max_connections: 200", "max_connections: 180"))
    assert break_off(lab, lambda phase: phase == "patroni-lowered")
    lab.edit(lambda text: text.replace("max_connections: 180", "max_connections: 220"))
    changed = {"patroni-settings", "patroni-restarts"}
    assert break_off_in_each(lab, changed)[0] == changed
    assert lab.plan()["empty"]
    assert lab.call("psql", "sib-01", "--", "-XAtc", "SHOW max_connections").stdout.strip() == "220"


def test_down_leaves_nothing(lab: Lab, traces: Callable[[str], dict[str, list[str]]]) -> None:
    lab.call("down", "--yes")
    assert not any(traces("t-life").values()), traces("t-life")
    lab.call("down", "--yes")
    refused = lab.call("down", expect=1)
    assert "--yes" in refused.stderr


def test_a_node_that_dies_while_up_works_is_named_and_the_next_run_finishes(lab: Lab) -> None:
    """A standby's node loses power while it waits for the cluster that it will join."""
    lab.call("down", "--yes")
    with lab.running("up") as run:
        event = run.until(lambda event: event["phase"] == "patroni" and is_change(event))
        assert event, run.end()
        victim = "db-sib-03" if event["node"] == "db-fsn-01" else "db-fsn-01"
        kill(Cgroups("t-life").node(victim))
        status, said = run.end()
    assert status == 1, said[-6000:]
    errors = "".join(line for line in said.splitlines(keepends=True) if not line.startswith("{"))
    assert victim in errors, errors
    assert any(f"container {victim}" in line for line in lab.lines())
    lab.call("up", timeout=UP_S)
    assert lab.plan()["empty"]


def test_two_labs_side_by_side(lab: Lab, platform_lab: Lab, traces: Callable[[str], dict[str, list[str]]]) -> None:
    """Each has the same names and addresses in its own network and tailnet. The second one is made up to its tailnet:
    two whole platforms answer too late on two slow cores (seen: a load of 92, and no `up` that ended). So what is
    removed is half made, and nothing of it is left.
    """
    before = platform_lab.status()
    assert break_off(lab, lambda phase: phase in ("guard", "consul", "dcs"))
    keys = "tailscale status --json | jq -r '.Peer[].PublicKey'"
    peers = [set(each.on("apps-sib-01", keys).split()) for each in (lab, platform_lab)]
    assert [len(each) for each in peers] == [8, 8] and not peers[0] & peers[1]
    platform_lab.wait_until_proven(120)
    left = traces("t-life")
    assert all(left[kind] for kind in ("processes", "namespaces", "cgroups", "folders", "locks")), left
    lab.call("down", "--yes")
    assert not any(traces("t-life").values()), traces("t-life")
    platform_lab.call("verify")
    assert platform_lab.status()["sites"] == before["sites"]
