"""`status --json` is a contract: its schema is published, and a silent platform is shown as what it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tercet.components.context import Context
from tercet.components.dcs.status import ConsulKeys
from tercet.components.nomad.status import NomadKeys
from tercet.components.patroni.aside import AsideStatus, moved_aside
from tercet.components.patroni.status import PostgresKeys, PostgresStatus
from tercet.components.proxy.status import RoutesKeys
from tercet.components.registry import components
from tercet.converge.component import Readings
from tercet.converge.requests import Answer
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets, names
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import Snapshot, questions, snapshot, units_of


def context_of(platform: Platform, proxy_reason: str | None = "") -> Context:
    secrets = Secrets(dict.fromkeys(names(), "x"))
    return Context(platform, secrets, timing_of(platform.settings), (), "pgpool", proxy_reason=proxy_reason)


def look_of(platform: Platform, readings: Readings, *, proxy_reason: str | None = "") -> Snapshot:
    context = context_of(platform, proxy_reason)
    parts = components(context)
    return snapshot(context, parts, units_of(parts, platform.containers), readings)


def test_a_platform_that_does_not_answer_is_not_healthy(platform: Platform) -> None:
    found = look_of(platform, Readings({}))
    assert not found.healthy
    assert found.of(PostgresKeys).postgres == PostgresStatus(primary=None, members=[], writable=False)
    assert len(found.sites) == 3 and all(len(site.nodes) == 3 for site in found.sites)
    states = {state for site in found.sites for node in site.nodes for state in node.components.values()}
    assert states == {"no answer"}
    assert all(not condition.passing for condition in found.conditions)
    assert found.of(ConsulKeys).consul["dcs"].leader is None and found.of(NomadKeys).nomad.leader is None


def test_a_proxy_that_is_undecided_is_not_guessed(platform: Platform) -> None:
    found = look_of(platform, Readings({}), proxy_reason=None)
    assert {route.proxy for route in found.of(RoutesKeys).routes} == {""} and found.proxy_reason.startswith(
        "undecided: "
    )
    told = look_of(platform, Readings({}), proxy_reason="pgpool-II, as the inventory says")
    assert {route.proxy for route in told.of(RoutesKeys).routes} == {"pgpool"}
    assert told.proxy_reason == "pgpool-II, as the inventory says"


def test_every_question_has_a_name_of_its_own(platform: Platform) -> None:
    """A component may ask what another asks too, but then it must be the same request."""
    parts = components(context_of(platform))
    together = questions(parts, platform.containers)
    for node in platform.containers:
        for part in parts:
            for name, request in part.questions(node).items():
                assert together[node.name][name] == request, f"{node.name}: {name}"


DAY = 86400
MOVED = 1_795_000_000  # 2026-11-18 11:06:40 UTC


def kept(platform: Platform, *, days: float, free_percent: float, count: int = 1) -> list[AsideStatus]:
    """What `status` says of data that db-fsn-01 moved aside so many days ago."""
    listed = [
        {
            "name": f"tercet.aside-{n}",
            "path": f"/d/tercet.aside-{n}",
            "bytes": 5,
            "moved": MOVED + n,
            "reason": "no WAL",
        }
        for n in range(count)
    ]
    answer = Answer(0, json.dumps({"free_percent": free_percent, "aside": listed}))
    now = datetime.fromtimestamp(MOVED + days * DAY, UTC)
    readings = Readings({"db-fsn-01": {"aside": answer}, "db-sib-01": {"aside": Answer(0, "{}")}})
    return moved_aside(platform, readings, now)


def test_what_was_moved_aside_is_shown_with_its_time(platform: Platform) -> None:
    [found] = kept(platform, days=1, free_percent=60)
    assert (found.node, found.bytes, found.reason, found.warning) == ("db-fsn-01", 5, "no WAL", "")
    assert (found.moved, found.until) == ("2026-11-18T11:06:40+00:00", "2026-12-02T11:06:40+00:00")


def test_a_warning_comes_before_a_removal(platform: Platform) -> None:
    assert kept(platform, days=10.4, free_percent=30)[0].warning == ""
    [late] = kept(platform, days=12, free_percent=60)
    assert late.warning == "removed when 14 days are over, in 2.0 days"
    oldest, other = kept(platform, days=1, free_percent=29, count=2)
    assert oldest.warning == "removed when less than 20 % of the disk is free; it is 29 % now"
    assert other.warning == "", "the oldest goes first"


def test_a_lost_site_has_one_line_with_what_to_do_and_is_not_judged(platform: Platform) -> None:
    found = look_of(platform.losing("sib-01", "sib-03"), Readings({}))
    assert [site.name for site in found.sites] == ["fsn-01"] and len(found.lost_sites) == 2
    assert found.lost_sites[1].nodes == ["consul-nomad-sib-03", "apps-sib-03", "db-sib-03"]
    assert "`tercet recover rejoin sib-03`" in found.lost_sites[1].remedy
    declared = [condition.detail for condition in found.conditions if condition.declared]
    assert declared == ["it is on one disk only, that of db-fsn-01, until `tercet recover rejoin sib-01 sib-03`"]
    assert not any("sib-0" in condition.title for condition in found.conditions)
    two = look_of(platform.losing("sib-01"), Readings({}))
    assert not [condition for condition in two.conditions if condition.declared], "each write has two disks again"
