"""Which entries of the tailnet are of nodes that were replaced, and who removes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tercet.converge.component import Readings
from tercet.converge.events import Event
from tercet.converge.plan import Change, Plan, Step
from tercet.converge.requests import Answer
from tercet.converge.target import Kind, Target, Verb
from tercet.inventory.platform import Platform
from tercet.operations import entries
from tercet.operations.entries import replaced, take_out_replaced
from tercet.session.session import Session

RUNNING, LOGGED_OUT, STARTING = "Running", "NeedsLogin", "NoState"
CREATED = Plan((Change(Verb.CREATE, Target(Kind.CONTAINER, "db-sib-03"), "absent"),))
CHANGED = Plan(steps=(Step("tailscale", "db-sib-03", ()),))


def readings_of(platform: Platform, **strange: tuple[str, str]) -> Readings:
    """Each node has the address that the others have for it in /etc/hosts, unless `strange` gives another state and
    address.
    """
    addresses = {node.name: f"100.64.0.{number}" for number, node in enumerate(platform.nodes, 1)}
    hosts = "\n".join(f"{address} {name}" for name, address in addresses.items())
    found = {}
    for name, address in addresses.items():
        state, own = strange.get(name.replace("-", "_"), (RUNNING, address))
        status = {"BackendState": state, "TailscaleIPs": [own] if own else None}
        found[name] = {
            "hosts": Answer(0, f"127.0.0.1 localhost\n{hosts}\n"),
            "tailscale": Answer(200, json.dumps(status)),
        }
    return Readings(found)


@pytest.mark.parametrize(
    ("state", "own", "former"),
    [
        (RUNNING, "100.64.0.6", set()),
        (RUNNING, "100.64.0.33", {"100.64.0.6"}),
        (LOGGED_OUT, "", {"100.64.0.6"}),
        (STARTING, "", set()),  # it may have the same address in a moment
        (RUNNING, "not an address", set()),
    ],
)
def test_a_node_that_left_its_address_was_replaced(platform: Platform, state: str, own: str, former: set[str]) -> None:
    found = replaced(platform, readings_of(platform, db_sib_03=(state, own)), set())
    assert found == ({"db-sib-03": former} if former else {})


def test_a_node_that_is_made_anew_has_no_address(platform: Platform) -> None:
    assert replaced(platform, readings_of(platform), {"db-sib-03"}) == {"db-sib-03": {"100.64.0.6"}}


def test_a_node_that_does_not_answer_was_not_replaced(platform: Platform) -> None:
    readings = readings_of(platform)
    answers = {node.name: {"hosts": readings.get(node.name, "hosts")} for node in platform.nodes}
    assert replaced(platform, Readings(answers), set()) == {}


@pytest.fixture
def removed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, set[str]]]:
    """What is removed; db-sib-03 was replaced."""

    async def ask(_provider: Any, asked: Mapping[str, Any], *, timeout: float) -> Readings:
        assert "db-sib-01" in asked and timeout > 0
        return readings_of(platform, db_sib_03=(RUNNING, "100.64.0.33"))

    async def remove(session: Session, nodes: Mapping[str, set[str]]) -> bool:
        done.append(nodes)
        return session.platform.world is not None

    done: list[Mapping[str, set[str]]] = []
    monkeypatch.setattr(entries, "ask", ask)
    monkeypatch.setattr(entries, "remove", remove)
    return done


@pytest.mark.parametrize(("plan", "asks"), [(CREATED, True), (CHANGED, True), (Plan(), False)])
async def test_only_a_plan_that_changes_the_tailnet_takes_nodes_out(
    platform: Platform, removed: list[Mapping[str, set[str]]], plan: Plan, asks: bool
) -> None:
    events: list[Event] = []
    await take_out_replaced(cast(Session, SimpleNamespace(platform=platform, provider=None)), plan, events.append)
    assert removed == ([{"db-sib-03": {"100.64.0.6"}}] if asks else [])
    texts = ["the old entries of replaced nodes are removed: db-sib-03 (100.64.0.6)"] if asks else []
    assert [event.text for event in events] == texts


async def test_where_tercet_may_not_remove_it_the_operator_is_told(
    platform: Platform, removed: list[Mapping[str, set[str]]]
) -> None:
    events: list[Event] = []
    own = SimpleNamespace(world=None, nodes=platform.nodes, settings=platform.settings)
    await take_out_replaced(cast(Session, SimpleNamespace(platform=own, provider=None)), CHANGED, events.append)
    assert "remove the old entries of replaced nodes yourself: db-sib-03 (100.64.0.6)" in events[0].text
