"""What a node's tailscaled admits, compared with what the platform needs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tercet.components.context import Context
from tercet.components.tailscale.proof import access_controls
from tercet.converge.component import Deviating, Passing, Readings, State, Waiting
from tercet.converge.requests import NO_ANSWER, Answer
from tercet.inventory.platform import Platform

TARGET = "db-sib-01"


def rule(sources: list[str], first: int, last: int, protocols: list[int] | None = None) -> dict[str, Any]:
    places = [{"IP": "100.64.0.3", "Ports": {"First": first, "Last": last}}]
    return {"SrcIPs": sources, "DstPorts": places, **({"IPProto": protocols} if protocols else {})}


def judged(platform: Platform, answer: Answer) -> State:
    """The verdict if TARGET reports this and all other nodes admit nothing."""
    readings = {}
    for number, node in enumerate(platform.nodes, 1):
        status = json.dumps({"TailscaleIPs": [f"100.64.0.{number}", f"fd7a::{number}"]})
        readings[node.name] = {
            "tailscale": Answer(200, status),
            "proof.rules": answer if node.name == TARGET else Answer(200, "null"),
        }
    return access_controls(platform).check(Readings(readings))


def reported(*rules: object) -> Answer:
    return Answer(200, json.dumps(rules))


def test_the_fixtures_addresses_are_these(platform: Platform) -> None:
    names = [node.name for node in platform.nodes]
    assert names[:6] == [
        "consul-nomad-sib-01",
        "apps-sib-01",
        TARGET,
        "consul-nomad-sib-03",
        "apps-sib-03",
        "db-sib-03",
    ]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (reported(), "0 rules"),
        (reported(rule(["100.64.0.2"], 5432, 5432, [6])), "1 rules"),
        (reported(rule(["100.64.0.5-100.64.0.6"], 5432, 5432, [6])), "2 rules"),
        (reported(rule(["fd7a::2"], 5432, 5432, [6])), "1 rules"),
        (reported(rule(["*"], 0, 65535, [1, 58])), "0 rules"),  # anyone may ping
    ],
)
def test_what_a_role_needs_is_admitted(platform: Platform, found: Answer, verdict: str) -> None:
    assert judged(platform, found) == Passing(verdict)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (rule(["100.64.0.2"], 5432, 5432), "apps-sib-01 may use udp 5432"),
        (rule(["100.64.0.2"], 8008, 8008, [6]), "apps-sib-01 may use tcp 8008"),
        (rule(["100.64.0.2"], 5000, 5999, [6]), "apps-sib-01 may use tcp 5000-5999"),
        (rule(["100.64.0.2"], 0, 65535, [132]), "apps-sib-01 may use protocol 132 0-65535"),
        (rule(["100.64.0.4/31"], 5432, 5432, [6]), "consul-nomad-sib-03 may use tcp 5432"),
        (rule(["100.64.0.10"], 5432, 5432, [6]), "another device (100.64.0.10) may use tcp 5432"),
        (rule(["100.64.0.8-100.64.0.10"], 22, 22, [6]), "another device (100.64.0.8-100.64.0.10) may use tcp 22"),
        (rule(["100.64.0.0/10"], 5432, 5432, [6]), "another device (100.64.0.0/10) may use tcp 5432"),
        (rule(["*"], 5432, 5432, [6]), "another device (*) may use tcp 5432"),
        (rule(["cap:x"], 5432, 5432, [6]), "another device (cap:x) may use tcp 5432"),
    ],
)
def test_more_is_named_and_in_a_tailnet_of_ones_own_a_known_deviation(
    platform: Platform, context: Context, found: dict[str, Any], reason: str
) -> None:
    assert judged(platform, reported(found)) == Waiting(f"{reason} of {TARGET}")
    settings = context.platform.settings.model_copy(update={"provider": "proxmox"})
    state = judged(dataclasses.replace(platform, settings=settings), reported(found, rule(["*"], 80, 80, [17])))
    assert state == Deviating(
        f"{reason} of {TARGET}, and 1 more, which only its firewall refuses: see `tercet tailnet policy`"
    )


@pytest.mark.parametrize(
    "found", [NO_ANSWER, reported("x"), reported({"SrcIPs": ["x"], "DstPorts": []}), Answer(200, "7")]
)
def test_a_node_that_reports_nothing_or_something_else_is_named(platform: Platform, found: Answer) -> None:
    state = judged(platform, found)
    assert isinstance(state, Waiting) and state.reason.startswith(f"{TARGET} does not say what it admits")
