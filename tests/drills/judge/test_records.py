"""The parsers read what the real programs print, and the chain of a real failover is put together from it.

fixtures/ holds what Consul 1.22.7, Patroni 4.0.7, PostgreSQL and Consul Template 0.42.1 printed when a primary's
node was killed at KILLED, came back 12 s later, and was made primary again by a switchover 27 s after it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercet.drills import journal
from tercet.drills.judge.availability import Gap
from tercet.drills.judge.chain import chain_of
from tercet.drills.judge.records import TimelineEvent, command, events, journals, lines, parse_unit
from tercet.inventory.journals import What

FIXTURES = Path(__file__).parent / "fixtures"
KILLED = 1795416339.1876137


def recorded() -> list[TimelineEvent]:
    found: list[TimelineEvent] = []
    for path in sorted(FIXTURES.glob("*.service.log")):
        node, _, unit = path.name.removesuffix(".log").partition(".")
        found += parse_unit(path.read_text(), node, unit)
    return sorted(found, key=lambda event: event.unix)


def first(what: What, node: str, after: float = 0.0) -> TimelineEvent:
    return next(
        event for event in recorded() if event.what is what and event.node == node and event.unix - KILLED >= after
    )


@pytest.mark.parametrize(
    ("what", "node", "component", "subject", "at"),
    [
        (What.SUSPECTED, "db-sib-03", "dcs", "db-sib-01", 0.513),
        (What.MEMBER_FAILED, "db-sib-03", "dcs", "db-sib-01", 2.014),
        (What.MEMBER_FAILED, "consul-nomad-fsn-01", "dcs", "db-sib-01", 2.016),
        (What.HEALTH_CRITICAL, "db-sib-03", "dcs", "db-sib-01", 2.015),
        (What.PEER_SILENT, "db-sib-03", "patroni", "db-sib-01", 2.032),
        (What.LOCK_TAKEN, "db-sib-03", "patroni", "", 2.048),
        (What.PROMOTE_ASKED, "db-sib-03", "postgresql", "", 2.050),
        (What.NEW_TIMELINE, "db-sib-03", "postgresql", "2", 2.052),
        (What.READY, "db-sib-03", "postgresql", "", 2.077),
        (What.CHECK_SYNCED, "db-sib-03", "dcs", "proposalsapp-primary", 2.761),
        (What.REWIND, "db-sib-01", "patroni", "db-sib-03", 13.192),
        (What.STREAMING, "db-sib-01", "postgresql", "0/3000000", 14.773),
        (What.SYNC_CANDIDATE, "db-sib-03", "postgresql", "db-sib-01", 17.264),
        (What.SWITCHOVER_ASKED, "db-sib-03", "patroni", "db-sib-01", 27.031),
        (What.DEMOTED, "db-sib-03", "patroni", "", 27.048),
        (What.SHUTDOWN, "db-sib-03", "postgresql", "fast", 27.063),
        (What.LOCK_RELEASED, "db-sib-03", "patroni", "", 29.099),
    ],
)
def test_a_real_failover_is_read(what: What, node: str, component: str, subject: str, at: float) -> None:
    event = first(what, node)
    assert (event.component, event.subject) == (component, subject)
    assert event.unix - KILLED == pytest.approx(at, abs=0.001)


def test_a_rendered_template_names_its_file() -> None:
    event = first(What.RENDERED, "apps-sib-03", after=2.5)
    assert event.subject == "/etc/pgcat/pgcat.toml"


def test_what_is_repeated_at_each_look_is_told_once() -> None:
    critical = [event for event in recorded() if event.what is What.CHECK_CRITICAL and event.node == "db-sib-03"]
    raw = (FIXTURES / "db-sib-03.consul-dcs.service.log").read_text()
    assert raw.count("Check is now critical") > 30
    assert len(critical) <= 5
    owners = [event.subject for event in recorded() if event.what is What.LOCK_OWNER and event.node == "db-sib-03"]
    assert owners == ["db-sib-03", "db-sib-01"]


# One line of each component that the fixtures lack: unit, kind, subject, message.
SAMPLES = [
    (unit, message, What[kind], subject)
    for unit, kind, subject, message in (
        line.split("\t") for line in (FIXTURES / "samples.tsv").read_text().splitlines()
    )
]


@pytest.mark.parametrize(("unit", "message", "what", "subject"), SAMPLES)
def test_each_line_is_known_in_both_formats(unit: str, message: str, what: What, subject: str) -> None:
    short = f"1795416339.500000 node {unit.removesuffix('.service')}[12]: {message}"
    (event,) = parse_unit(short, "node", unit)
    as_json = json.dumps({"__REALTIME_TIMESTAMP": "1795416339500000", "_SYSTEMD_UNIT": unit, "MESSAGE": message})
    assert events(as_json, "node") == [event]
    assert (event.what, event.subject, event.unix) == (what, subject, 1795416339.5)


def test_every_kind_of_event_has_a_line_that_means_it() -> None:
    known = {rule.what for journal in journals().values() for rule in journal.rules}
    sampled = {what for _, _, what, _ in SAMPLES} | {event.what for event in recorded()}
    assert known <= sampled


@pytest.mark.parametrize(
    ("unit", "message", "what"),
    [
        ("pgcat.service", "Reloaded pgcat.service - PgCat.", What.PROXY_READY),
        ("pgpool2.service", "Started pgpool2.service - pgpool-II.", What.PROXY_READY),
        ("patroni.service", "Started patroni.service - Patroni.", What.UNIT_STARTED),
        ("patroni.service", "patroni.service: Main process exited, code=killed, status=9/KILL", What.UNIT_DIED),
    ],
)
def test_systemd_speaks_about_a_unit(unit: str, message: str, what: What) -> None:
    entry = {"__REALTIME_TIMESTAMP": "1000000", "_SYSTEMD_UNIT": "init.scope", "UNIT": unit, "MESSAGE": message}
    (event,) = events(json.dumps(entry), "node")
    assert event.what is what


def test_a_route_to_nowhere_is_no_ready_proxy() -> None:
    assert parse_unit("1.5 node tercet-routes[1]: 198.18.0.1 : nowhere", "node", "tercet-routes.service") == []


def test_what_is_no_journal_line_is_left_out() -> None:
    text = (
        '{"torn\n{"MESSAGE":"x"}\n-- Boot --\n\n{"__REALTIME_TIMESTAMP":"1","_SYSTEMD_UNIT":"x.service","MESSAGE":null}'
    )
    assert events(text, "node") == []
    assert list(lines(text)) == []


def test_bytes_that_are_no_text_are_read() -> None:
    message = list(b"silent 100.64.0.4 db-\xff")
    entry = {"__REALTIME_TIMESTAMP": "1", "_SYSTEMD_UNIT": "tercet-guard.service", "MESSAGE": message}
    (event,) = events(json.dumps(entry), "node")
    assert event.subject == "db-�"


def test_the_command_asks_for_every_known_unit() -> None:
    words = command(1795416339.9)
    assert "--since=@1795416339" in words
    assert {words[i + 1] for i, word in enumerate(words) if word == "--unit"} == set(journals())


def journal_records() -> list[journal.Record]:
    return [
        journal.Record(
            t=event.unix - KILLED + 10,
            node=event.node,
            component=event.component,
            what=event.what,
            subject=event.subject,
            text=event.text,
        )
        for event in recorded()
    ]


def test_the_chain_of_a_real_failover() -> None:
    gap = Gap("sib-03", "writer", 9.98, 12.95, 58)
    faults = [journal.Fault(t=10, action="injected", fault="node db-sib-01 killed", nodes=("db-sib-01",))]
    chain = chain_of(gap, journal_records(), faults, "db-sib-03")
    assert [link.title for link in chain.links] == [
        "failure seen by gossip",
        "session gone",
        "members asked",
        "leader key taken",
        "promoted",
        "check passing",
        "template rendered",
        "first acknowledged write",
    ]
    # The template was rendered at 12.04 too, without a primary: that is not the one that counts.
    assert [round(link.t, 2) for link in chain.links] == [12.01, 12.01, 12.03, 12.05, 12.08, 12.76, 12.81, 12.95]
    assert chain.costliest.title == "failure seen by gossip"
    assert sum(link.cost for link in chain.links) == pytest.approx(gap.seconds)


def test_the_chain_of_a_real_switchover_blames_the_demotion() -> None:
    gap = Gap("sib-03", "writer", 37.03, 40.2, 58)
    faults = [journal.Fault(t=37, action="injected", fault="switchover to sib-01", nodes=())]
    chain = chain_of(gap, journal_records(), faults, "db-sib-01")
    titles = [link.title for link in chain.links]
    assert titles[:3] == ["switchover asked", "old primary demoted", "leader key free"]
    assert chain.costliest.title == "leader key free"
    assert sum(link.cost for link in chain.links) == pytest.approx(gap.seconds)


def test_without_any_record_the_whole_gap_is_the_last_link() -> None:
    chain = chain_of(Gap("sib-03", "writer", 1, 4, 9, recovered=False), [], [], "")
    assert [(link.title, link.cost) for link in chain.links] == [("the load ended", 3)]
