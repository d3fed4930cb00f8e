"""`tercet tailnet policy`: what it prints, and what it says if a node has no address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tercet.converge.component import Readings
from tercet.converge.requests import Answer
from tercet.operations import tailnet_policy

from .conftest import Tool


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """What the nodes' tailscaled answers, by node; each node has an address unless a test says otherwise."""
    told = dict[str, Answer]()

    async def ask(_fleet: Any, questions: Mapping[str, Any], *, timeout: float) -> Readings:
        assert timeout > 0
        statuses = (json.dumps({"TailscaleIPs": [f"100.64.0.{number}"]}) for number in range(1, 10))
        found = {name: told.get(name, Answer(0, status)) for name, status in zip(questions, statuses, strict=True)}
        return Readings({name: {"tailscale": answer} for name, answer in found.items()})

    monkeypatch.setattr(tailnet_policy, "ask", ask)
    return told


def test_it_prints_the_policy_and_nothing_else(tool: Tool, answers: dict[str, Answer]) -> None:
    status, out, err = tool("tailnet", "policy")
    assert (status, err) == (0, "")
    policy = json.loads(out)
    assert policy["hosts"]["db-sib-01"] == "100.64.0.3" and len(policy["hosts"]) == 9
    assert {rule["action"] for rule in policy["acls"]} == {"accept"}


def test_without_an_address_of_each_node_it_prints_nothing(tool: Tool, answers: dict[str, Answer]) -> None:
    answers["apps-sib-03"] = Answer(1, "", "state: NeedsLogin")
    status, out, err = tool("tailnet", "policy")
    assert (status, out) == (1, "")
    assert "found: apps-sib-03 has no tailnet address yet. Start it, or run `tercet up`" in err
