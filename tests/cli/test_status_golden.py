"""What `status` and `status --json` print, byte by byte: of a platform that runs, and of one in trouble."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from tercet.cli.status_view import render_status
from tercet.components.context import Context
from tercet.components.registry import components
from tercet.converge.component import Readings
from tercet.converge.requests import Answer
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.secrets import Secrets, names
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import Snapshot, snapshot, units_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PRIMARY = "db-sib-01"


def context_of(platform: Platform, proxy_reason: str | None = "") -> Context:
    secrets = Secrets(dict.fromkeys(names(), "x"))
    return Context(platform, secrets, timing_of(platform.settings), (), "pgpool", proxy_reason=proxy_reason)


def look(platform: Platform, readings: Readings, proxy_reason: str | None) -> Snapshot:
    context = context_of(platform, proxy_reason)
    parts = components(context)
    return snapshot(context, parts, units_of(parts, platform.containers), readings, NOW)


def running(platform: Platform) -> dict[str, dict[str, Answer]]:
    """What every node answers while all is well."""
    parts = components(
        Context(platform, Secrets(dict.fromkeys(names(), "x")), timing_of(platform.settings), (), "pgpool")
    )
    units = units_of(parts, platform.containers)
    answers = {
        node.name: {
            **{unit: Answer(0, "active") for many in units[node.name].values() for unit in many},
            **{name: told(said) for name, said in of(platform, node).items()},
        }
        for node in platform.containers
    }
    for each in answers.values():
        each |= {name: Answer(0, "active") for name in ("watchdog", "guard", "follow")}
        each["firewall"] = Answer(0, "type filter hook input priority filter; policy drop;")
    return answers


def told(said: object) -> Answer:
    return Answer(0, said) if isinstance(said, str) else Answer(200, json.dumps(said))


def of(platform: Platform, node: Node) -> Mapping[str, Any]:
    """The answers to a node's questions, shaped like those of the real programs."""
    if node.role is Role.WORLD:
        return {"headscale": ""}
    addresses = {each.name: f"100.64.0.{number}" for number, each in enumerate(platform.nodes, 1)}
    members = [{"Name": name, "Status": 1} for name in addresses]
    peers = {name: {"HostName": name, "TailscaleIPs": [address]} for name, address in addresses.items()}
    controls = [each.name for each in platform.of(Role.CONTROL)]
    said: dict[str, Any] = {
        "tailscale": {"BackendState": "Running", "TailscaleIPs": [addresses[node.name]], "Peer": peers},
        "dcs.members": members,
    }
    if node.role is Role.CONTROL:
        said["consul.leader"] = json.dumps(f"{addresses[node.name]}:8300")
        said["consul.lan"] = members
        said["consul.wan"] = [
            {"Name": f"{platform.at(site.name, Role.CONTROL).name}.{site.datacenter}", "Status": 1}
            for site in platform.sites
        ]
        said["restored"] = ""
        said["dcs.leader"] = json.dumps(f"{addresses[controls[-1]]}:9300")
        said["dcs.peers"] = {"Servers": [{"Node": n, "Leader": n == controls[-1], "Voter": True} for n in controls]}
        said["dcs.raft"] = [f"{addresses[name]}:9300" for name in controls]
        said["nomad.leader"] = json.dumps(f"{addresses[controls[0]]}:4647")
        servers = [{"Name": f"{name}.global", "Status": "alive", "Addr": addresses[name]} for name in controls]
        said["nomad.servers"] = {"Members": servers}
        said["nomad.clients"] = [{"Name": each.name, "Status": "ready"} for each in platform.of(Role.APPS)]
    if node.role is Role.APPS:
        hosts = "".join(f"{address} {name}\n" for name, address in addresses.items())
        own, primary = addresses[f"db-{node.site}"], addresses[platform.initial_primary.name]
        said["routes"] = f"{hosts}read\n{own}\nwrite\n{primary}\ntransaction\n{own}\n"
    if node.role is Role.DB:
        leads = node == platform.initial_primary
        cluster = [
            {"name": name, "role": "leader", "state": "running"}
            if name == platform.initial_primary.name
            else {"name": name, "role": "quorum_standby", "state": "streaming", "lag": 16}
            for name in platform.databases
        ]
        said["patroni"] = {"members": cluster}
        said["patroni.config"] = {"synchronous_mode": "quorum"}
        said["read_only"] = "off" if leads else "on"
        room = b64encode(b"room").decode()
        said["rooms"] = [{"Key": f"tercet/room/{name}", "Value": room} for name in platform.databases]
        said["aside"] = "{}"
    return said


def printed(seen: Snapshot) -> str:
    out = io.StringIO()
    render_status(seen, Console(file=out, width=100))
    return out.getvalue()


@pytest.fixture
def well(platform: Platform) -> Snapshot:
    return look(platform, Readings(running(platform)), "pgpool-II, because PgCat is not available")


@pytest.fixture
def troubled(platform: Platform) -> Snapshot:
    """A site is lost, and a node says why it is silent. What is left has no leader, and files were moved aside."""
    left = platform.losing("sib-03")
    answers = running(left)
    del answers["apps-fsn-01"]
    for question in ("consul.leader", "dcs.leader", "nomad.leader", "nomad.servers"):
        for node in left.of(Role.CONTROL):
            answers[node.name][question] = Answer(500, "no leader")
    for node in left.of(Role.CONTROL):
        answers[node.name]["dcs.peers"] = Answer(500, "no leader")
    moved = {
        "name": "tercet.aside-20261115T120000Z-timeline-3",
        "path": "/var/lib/postgresql/17/tercet.aside-20261115T120000Z-timeline-3",
        "bytes": 31_830_016,
        "moved": datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp(),
        "reason": "could not find previous WAL record",
    }
    answers["db-fsn-01"]["aside"] = told({"free_percent": 60, "aside": [moved]})
    answers["db-fsn-01"]["patroni.service"] = Answer(3, "failed")
    return look(left, Readings(answers, {"apps-fsn-01": "apps-fsn-01: the container does not run"}), None)


@pytest.mark.parametrize("name", ["well", "troubled", "silent"])
def test_status(name: str, request: pytest.FixtureRequest, platform: Platform, snapshot: SnapshotAssertion) -> None:
    seen = look(platform, Readings({}), "") if name == "silent" else request.getfixturevalue(name)
    assert printed(seen) == snapshot(name="text")
    assert json.dumps(seen.model_dump(), indent=2) == snapshot(name="json")
    assert seen.model_dump_json() == json.dumps(seen.model_dump(), separators=(",", ":"), ensure_ascii=False)


def test_a_platform_that_runs_is_healthy(well: Snapshot) -> None:
    assert well.healthy, [condition for condition in well.conditions if not condition.passing]
