"""The questions of a drill to the running platform, before and after load and faults: roles, SQL, clocks, records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise

from tercet.components import endpoints
from tercet.components.dcs.status import ConsulKeys
from tercet.components.patroni.status import PostgresKeys
from tercet.components.proxy.component import FLAVOURS
from tercet.components.proxy.declaration import ProxyPorts
from tercet.components.proxy.flavour import Flavour
from tercet.components.proxy.serving import PASSFILE
from tercet.converge.fleet import Unreachable
from tercet.converge.observe import ask
from tercet.converge.requests import Http
from tercet.drills import journal
from tercet.drills.judge import records
from tercet.drills.run.clock import NodeClock, Sample, estimate
from tercet.drills.run.load import Bounds, table_query
from tercet.drills.run.predict import Running
from tercet.drills.scenario.fault import Facts
from tercet.drills.scenario.targets import View
from tercet.errors import TercetError
from tercet.inventory.journals import What
from tercet.inventory.platform import Platform, Role
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import Snapshot
from tercet.session.session import Session, SqlError

Span = tuple[float, float]
"""Begin and end, in seconds of the drill."""

PRIMARY_S = 10.0
PRIMARY_POLL_S = 0.5


class NotReadyError(TercetError):
    """The platform is not in the state that a drill needs."""


def flavour(session: Session) -> Flavour:
    """The kind of proxy. What is used of it here is the same on every apps node."""
    return FLAVOURS[session.context.proxy](session.context, session.platform.of(Role.APPS)[0])


def facts(session: Session) -> Facts:
    """What faults must know about the platform in addition to its nodes."""
    return Facts(session.context.proxy, session.platform.settings.postgresql.service)


def conninfo(platform: Platform) -> str:
    """The application's connection string on every apps node; the password is in the node's own file."""
    settings = platform.settings
    return (
        f"host=localhost port={settings.ports.of(ProxyPorts).proxy} dbname={settings.postgresql.database} "
        f"user={settings.postgresql.user} passfile={PASSFILE} application_name=tercet-drill"
    )


async def seen_with_primary(session: Session) -> Snapshot:
    """A snapshot that shows a primary, or the last one after PRIMARY_S seconds without one.

    A single snapshot may miss the primary of a healthy platform: on a machine that stood still for a moment, no Patroni
    answers in time (seen in a soak).
    """
    deadline = time.monotonic() + PRIMARY_S
    while True:
        seen = await session.snapshot()
        if seen.of(PostgresKeys).postgres.primary is not None or time.monotonic() >= deadline:
            return seen
        await asyncio.sleep(PRIMARY_POLL_S)


def view_of(session: Session, seen: Snapshot, site: str) -> View:
    """The present roles. Raises NotReadyError if no node is primary or if sites are lost."""
    if lost := [lost.name for lost in session.platform.lost_sites]:
        raise NotReadyError(
            f"expected all sites, because a drill makes one of them fail, found that {', '.join(lost)} "
            f"{'is' if len(lost) == 1 else 'are'} lost: `tercet recover rejoin` first"
        )
    postgres = seen.of(PostgresKeys).postgres
    if postgres.primary is None:
        raise NotReadyError("expected a primary before the drill, found none; see `tercet status`")
    order = session.platform.databases
    standbys = sorted(
        (member.node for member in postgres.members if member.node != postgres.primary),
        key=order.index,
    )
    leader = seen.of(ConsulKeys).consul["dcs"].leader or ""
    return View(session.platform, postgres.primary, tuple(standbys), leader, site)


def nodes_of(seen: Snapshot) -> tuple[journal.NodeOf, ...]:
    """Every node with its tailnet address, for the journal's beginning."""
    return tuple(
        journal.NodeOf(name=node.name, site=site.name, role=node.role, address=node.address)
        for site in seen.sites
        for node in site.nodes
    )


async def clocks(session: Session, nodes: Iterable[str]) -> dict[str, NodeClock]:
    """The clock of each node that answers, from three questions for the time."""

    async def one(node: str) -> tuple[str, NodeClock] | None:
        samples: list[Sample] = []
        for _ in range(3):
            sent = time.time()
            try:
                done = await session.provider.run(node, ("date", "+%s.%N"), timeout=5)
                samples.append(Sample(sent, float(done.stdout), time.time()))
            except (Unreachable, ValueError):
                continue
        return (node, estimate(samples)) if samples else None

    return dict(found for found in await asyncio.gather(*(one(node) for node in nodes)) if found)


async def component_records(session: Session, known: Mapping[str, NodeClock], began: float) -> list[journal.Record]:
    """What the components of every reachable node logged since the drill began, on the drill's clock."""

    async def one(node: str) -> list[journal.Record]:
        clock = known.get(node, NodeClock(0.0, 0.0))
        try:
            done = await session.provider.run(node, records.command(began + clock.offset - 1), timeout=30)
        except Unreachable:
            return []
        return [
            journal.Record(
                t=clock.drill_time(event.unix, began),
                node=event.node,
                component=event.component,
                what=event.what,
                subject=event.subject,
                text=event.text[:400],
            )
            for event in records.events(done.stdout.decode("utf-8", "replace"), node)
        ]

    found = await asyncio.gather(*(one(node.name) for node in session.platform.nodes))
    return sorted((record for of_node in found for record in of_node), key=lambda record: record.t)


def role_changes(changes: Sequence[journal.Primary], found: Sequence[journal.Record]) -> dict[str, list[Span]]:
    """For each node, when its database changed its role, and when it served in the new role.

    A change is the promotion of another node, or a primary that was alone, demoted itself, and became primary again. If
    no record says when a node serves again, it counts as serving at once.
    """
    moments: dict[str, list[float]] = {}
    for before, after in pairwise(changes):
        for node in (before.node, after.node):
            moments.setdefault(node, []).append(after.t)
    for record in found:
        if record.what in (What.DEMOTED, What.LOCK_TAKEN):
            moments.setdefault(record.node, []).append(record.t)
    serving = [r for r in found if r.what in (What.READY, What.READY_READ_ONLY)]

    def served(node: str, since: float) -> float:
        return min((r.t for r in serving if r.node == node and r.t >= since), default=since)

    return {node: [(t, served(node, t)) for t in sorted(of_node)] for node, of_node in moments.items()}


def disturbances(platform: Platform, faults: Iterable[journal.Fault]) -> list[float]:
    """The times when a fault began or ended at a server of `dcs`, from which every proxy learns the roles."""
    servers = {node.name for node in platform.of(Role.CONTROL)}
    return [fault.t for fault in faults if servers & set(fault.nodes)]


def primary_changes(first: str, found: Sequence[journal.Record]) -> list[journal.Primary]:
    """The primary over time. A promotion counts from the moment when the promoted node accepts writes."""
    changes = [journal.Primary(t=0.0, node=first)]
    for taken in (record for record in found if record.what == What.LOCK_TAKEN):
        if taken.node == changes[-1].node:
            continue
        ready = next((r.t for r in found if r.node == taken.node and r.what == What.READY and r.t >= taken.t), taken.t)
        changes.append(journal.Primary(t=min(ready, taken.t + 5.0), node=taken.node))
    return changes


STABLE_S = 8.0
"""Seconds after a node serves in a new role within which its site's reads are back at this node: checks, templates and
proxies must follow. A disturbance of `dcs` in that time delays them, and the seconds start again.
"""


def routes(
    platform: Platform,
    roles: Mapping[str, Sequence[Span]],
    hit: frozenset[str],
    roaming: frozenset[str],
    since: float,
    *,
    disturbed: Sequence[float] = (),
) -> list[journal.Route]:
    """Where each site's reads belong over time: to its own database node, except while this node changes its role.

    From `since` (the fault) on, neither the sites of `hit` database nodes nor the `roaming` ones are judged.
    """
    found: list[journal.Route] = []
    for node in platform.of(Role.DB):
        own = journal.Route(t=0.0, site=node.site, reads=(node.name,))
        found.append(own)
        if node.name in hit or node.site in roaming:
            found.append(own.model_copy(update={"t": since, "reads": ()}))
            continue
        for begins, ends in _around(roles.get(node.name, ()), sorted(disturbed)):
            found.append(own.model_copy(update={"t": begins, "reads": ()}))
            found.append(own.model_copy(update={"t": ends}))
    return found


def _around(changes: Sequence[Span], disturbed: Sequence[float]) -> list[Span]:
    """Spans from STABLE_S before each change until STABLE_S after the last disturbance that delayed it, in ascending
    order. Overlapping spans are merged.

    Changes and disturbances must be ascending.
    """
    spans: list[Span] = []
    for changed, served in changes:
        begins, ends = max(0.0, changed - STABLE_S), served + STABLE_S
        for t in disturbed:
            if changed <= t <= ends:
                ends = max(ends, t + STABLE_S)
        if spans and begins <= spans[-1][1]:
            earlier = spans.pop()
            begins, ends = earlier[0], max(earlier[1], ends)
        spans.append((begins, ends))
    return spans


async def tables(
    session: Session, table: str, began: float, t: float, bounds: Bounds | None = None
) -> list[journal.Table]:
    """The rows of the drill's table, or those within the bounds, on every database node that answers."""
    found: list[journal.Table] = []
    for node in session.platform.databases:
        try:
            rows = await session.sql(node, table_query(table, bounds))
        except (SqlError, Unreachable):
            continue
        for writer, of_writer in groupby(rows, key=lambda row: row[0]):
            kept = tuple((int(seq), id_, float(written) - began) for _, seq, id_, written in of_writer)
            found.append(journal.Table(t=t, node=node, writer=writer, rows=kept))
    return found


async def caught_up(session: Session, primary: str, deadline: float) -> None:
    """Wait until every standby that answers has replayed the primary's present WAL, for at most `deadline` seconds."""
    ends = time.monotonic() + deadline
    lsn = (await session.sql(primary, "SELECT pg_current_wal_lsn()"))[0][0]
    for node in session.platform.databases:
        while node != primary and time.monotonic() < ends:
            try:
                behind = await session.sql(node, f"SELECT pg_wal_lsn_diff('{lsn}', pg_last_wal_replay_lsn()) > 0")
            except (SqlError, Unreachable):
                break
            if behind[0][0] == "f":
                break
            await asyncio.sleep(0.2)


async def running(session: Session, primary: str) -> Running:
    """The numbers of the running configuration, as the agents report them. Raises NotReadyError."""
    dcs = endpoints.dcs(session.platform)
    asked = {
        primary: {
            "agent": Http(dcs, "/v1/agent/self"),
            "members": Http(dcs, "/v1/agent/members"),
            "patroni": Http(endpoints.patroni(session.platform, primary), "/config"),
        }
    }
    readings = await ask(session.provider, asked, timeout=10)
    agent, members = (readings.get(primary, name).json() for name in ("agent", "members"))
    patroni = readings.get(primary, "patroni").json()
    if not (isinstance(agent, dict) and isinstance(members, list) and isinstance(patroni, dict)):
        raise NotReadyError(
            f"expected {primary}'s dcs agent and Patroni to report their configuration, found no answer"
        )
    gossip = agent["DebugConfig"]
    parameters = patroni.get("postgresql", {}).get("parameters", {})
    return Running(
        members=len(members),
        probe_interval=duration(gossip["GossipLANProbeInterval"]),
        gossip_interval=duration(gossip["GossipLANGossipInterval"]),
        suspicion_mult=int(gossip["GossipLANSuspicionMult"]),
        loop_wait=float(patroni["loop_wait"]),
        one_way=max((link.latency_ms for link in session.platform.settings.links), default=0.0) / 1000,
        guard_probe=timing_of(session.platform.settings).peer_probe_ms / 1000,
        replication_timeout=duration(str(parameters.get("wal_sender_timeout", "60s"))),
    )


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds of "500ms", "5s", "1m30s". A number without unit is milliseconds, as in PostgreSQL's settings."""
    if text.isdigit():
        return int(text) / 1000
    seconds, number, unit = 0.0, "", ""
    for letter in [*text, "0"]:
        if unit and (letter.isdigit() or letter == "."):
            seconds += float(number) * _UNITS[unit]
            number, unit = "", ""
        if letter.isdigit() or letter == ".":
            number += letter
        else:
            unit += letter
    return seconds
