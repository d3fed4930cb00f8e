"""From nothing to a platform and back: broken-off runs, two labs side by side, and what is left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import FIRST_UP_S, UP_S, Lab, kill_group, make_lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3700)]

# Each run is killed as soon as it says that this phase has started; the next run goes on from there.
PHASES = (
    "containers",
    "headscale",
    "tailscale",
    "consul",
    "dcs",
    "nomad",
    "patroni",
    "sentinel",
    "application",
    "proxy",
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = make_lab(tmp_path, "t-life")
    lab.call("down", "--yes")
    try:
        yield lab
    finally:
        lab.call("down", "--yes", expect=None)


def kill_at(lab: Lab, phase: str, deadline: float) -> bool:
    """Start `up`, kill -9 it when the phase starts to change something; False if it ended before."""
    process = lab.start("--json", "up")
    started = time.monotonic()
    if process.stderr is None:
        pytest.fail("no events to read")
    for line in process.stderr:
        if time.monotonic() - started > deadline:
            kill_group(process)
            pytest.fail(f"{phase} did not start within {deadline:g} s")
        event = json.loads(line)
        if event.get("phase") == phase and event.get("state") in ("started", "progress"):
            kill_group(process)
            return True
    process.wait(timeout=60)
    return False


def test_up_killed_at_every_phase_is_finished_by_the_next(
    lab: Lab, traces: Callable[[str], dict[str, list[str]]]
) -> None:
    killed = [phase for phase in PHASES if kill_at(lab, phase, FIRST_UP_S)]
    assert killed == list(PHASES)
    lab.call("up", timeout=UP_S)
    assert lab.plan()["empty"]
    lab.call("down", "--yes")
    assert all(not found for found in traces("t-life").values()), traces("t-life")


def test_two_labs_side_by_side(lab: Lab, platform_lab: Lab) -> None:
    before = platform_lab.json("status")
    lab.call("up", timeout=FIRST_UP_S)
    lab.call("verify")
    other = platform_lab.json("status")
    assert other["healthy"] and other["postgres"]["primary"] == before["postgres"]["primary"]
    addresses = {node["address"] for site in other["sites"] for node in site["nodes"]}
    assert len(addresses) == 9
    lab.call("down", "--yes")
    platform_lab.call("verify")


def test_down_removes_a_half_made_lab_and_is_idempotent(
    lab: Lab, traces: Callable[[str], dict[str, list[str]]]
) -> None:
    assert kill_at(lab, "tailscale", FIRST_UP_S)
    assert traces("t-life")["processes"]
    lab.call("down", "--yes")
    assert all(not found for found in traces("t-life").values()), traces("t-life")
    lab.call("down", "--yes")
    refused = lab.call("down", expect=1)
    assert "--yes" in refused.stderr
