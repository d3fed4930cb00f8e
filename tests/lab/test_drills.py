"""Failure drills on the real platform: the specification's four scenarios in every run, all by `make drills`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tercet.drills.scenario.file import built_in
from tests.lab.conftest import Lab, wait_until

SHARED_DISK = "which other nodes share"  # what `disk-full` is refused with where there are no loop devices

# A datacenter dies, a datacenter is cut off, the primary dies, both standbys are lost. Reads of one that is cut off go
# on, whatever becomes of its Patroni.
SPECIFIED = ("site-killed", "site-cut", "site-cut-patroni-killed", "node-killed", "standbys-lost")


def drill(lab: Lab, name: str, folder: Path) -> dict[str, Any]:
    """Run one drill; fails with its report if it did not pass."""
    ready = "the platform is as before the drill"
    wait_until(ready, lambda: lab.call("status", expect=None, timeout=180).returncode == 0, 600)
    found, report = folder / f"{name}.json", folder / f"{name}.html"
    done = lab.call(
        "drill", "run", name, "--json", str(found), "--report", str(report), "--journals", str(folder),
        expect=None, timeout=1200,
    )  # fmt: skip
    if SHARED_DISK in done.stderr:
        pytest.skip(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert "<svg" in report.read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return data


@pytest.mark.lab
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", SPECIFIED)
def test_a_specified_failure_comes_out_as_promised(platform_lab: Lab, tmp_path: Path, name: str) -> None:
    data = drill(platform_lab, name, tmp_path)
    assert data["passed"] is True
    assert data["write_unavailability_s"]["worst"] > 0 or name == "standbys-lost"


@pytest.mark.lab
@pytest.mark.drill
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", sorted(set(built_in()) - set(SPECIFIED)))
def test_every_other_drill(platform_lab: Lab, tmp_path: Path, name: str) -> None:
    assert drill(platform_lab, name, tmp_path)["passed"] is True
