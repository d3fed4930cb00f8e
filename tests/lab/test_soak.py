"""A short soak on the real platform, and a support bundle of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tercet.inventory.secrets import peek
from tercet.operations.support.redact import forms
from tests.lab.conftest import Lab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

SEED = "7"
ROUNDS = 8


def test_a_soak_of_eight_rounds_loses_nothing_and_leaves_nothing_stuck(platform_lab: Lab, tmp_path: Path) -> None:
    ready = "the platform is as before the soak"
    wait_until(ready, lambda: platform_lab.call("status", expect=None, timeout=180).returncode == 0, 600)
    file = tmp_path / "soak.json"
    words = ("--rounds", str(ROUNDS), "--seed", SEED, "--json", str(file), "--journals", str(tmp_path / "journals"))
    done = platform_lab.call("drill", "soak", *words, timeout=1200, expect=None)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    data: dict[str, Any] = json.loads(file.read_text())
    assert data["passed"] is True and data["lost"] == 0
    assert [one["round"] for one in data["rounds"]] == list(range(1, ROUNDS + 1))
    assert all(one["acknowledged"] > 50 for one in data["rounds"])
    assert len(data["kinds"]) >= 4
    assert list((tmp_path / "journals").iterdir()) == []


def test_a_support_bundle_tells_of_every_node_and_holds_no_secret(platform_lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "case.tar.gz"
    told = platform_lab.json("support", "-o", str(file))
    raw = gzip.decompress(file.read_bytes())
    secrets = peek(platform_lab.file.with_name("tercet.secrets.yml"))
    for name, value in secrets.texts.items():
        for form in forms(value):
            assert form.encode() not in raw, name
    nodes = [node["name"] for site in platform_lab.status()["sites"] for node in site["nodes"]]
    for node in (*nodes, "world"):
        assert f"tercet-support/{node}/journal.log".encode() in raw, node
    assert b"db-sib-01/files/etc/patroni/patroni.yml" in raw and b"********" in raw
    assert b"LEADER" in raw.upper() and b"raft" in raw.lower()
    assert not [line for line in told["missing"] if "journal" in line or "files" in line], told["missing"]
