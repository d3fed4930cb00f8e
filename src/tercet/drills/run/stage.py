"""What a drill asks of the running platform around its load and its faults: who is who, SQL, clocks, records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from tercet.components import endpoints, patroni
from tercet.components.context import Context
from tercet.components.proxy.component import FLAVOURS, PASSFILE
from tercet.components.proxy.flavour import Flavour
from tercet.converge.component import Component, Condition, Waiting
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Http
from tercet.drills import journal
from tercet.drills.judge import records
from tercet.drills.run.clock import NodeClock, Sample, estimate
from tercet.drills.run.faults import Facts
from tercet.drills.run.load import Bounds, table_query
from tercet.drills.run.predict import Running
from tercet.drills.scenario.targets import View
from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role
from tercet.inventory.timing import timing_of
from tercet.observe.snapshot import Snapshot, conditions_of, look, questions
from tercet.providers.base import Provider

SQL_S = 20.0


class StageError(TercetError):
    """The platform is not in the state that a drill needs."""


@dataclass(frozen=True)
class Stage:
    """An opened platform: what `tercet.session.session.Session` holds, as far as a drill needs it."""

    platform: Platform
    provider: Provider
    context: Context
    components: tuple[Component, ...]

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.platform.of(Role.DB))

    @property
    def flavour(self) -> Flavour:
        """The proxy's kind; what is asked of it here is the same on every apps node."""
        return FLAVOURS[self.context.proxy](self.context, self.platform.of(Role.APPS)[0])

    def facts(self) -> Facts:
        return Facts(self.flavour.unit, self.platform.settings.postgresql.service)

    def conninfo(self) -> str:
        """The application's connection string on every apps node; the password is in the node's own file."""
        settings = self.platform.settings
        return (
            f"host=localhost port={settings.ports.proxy} dbname={settings.postgresql.database} "
            f"user={settings.postgresql.user} passfile={PASSFILE} application_name=tercet-drill"
        )

    async def healthy(
        self,
        deadline: float,
        fleet: Fleet | None = None,
        waiting: Callable[[Condition, Waiting], None] = lambda _condition, _state: None,
    ) -> str:
        """Wait until every condition of every component holds, all in one look. Empty, or what does not.

        `fleet` is a cheaper way to the same nodes, if there is one; `waiting` is told of what does not hold yet.
        """
        asked = questions(self.components, self.platform.containers)
        ends = time.monotonic() + deadline
        looks = 0

        def looked() -> bool:
            nonlocal looks
            looks += 1
            return True

        while looks != 1:  # what held in one look may hold no more when the last one does
            looks = 0
            judged = await wait_for(
                conditions_of(self.components),
                asked,
                fleet or self.provider,
                deadline=ends - time.monotonic(),
                interval=1.0,
                go_on=looked,
                waiting=waiting,
            )
            wrong = [f"{condition.title}: {state.reason}" for condition, state in judged if isinstance(state, Waiting)]
            if wrong:
                return "; ".join(wrong)
        return ""

    async def snapshot(self) -> Snapshot:
        return await look(self.platform, self.components, self.provider)

    async def sql(self, node: str, statement: str) -> list[list[str]]:
        """Run as the superuser over the node's own socket; the rows. Raises StageError, Unreachable."""
        argv = (*patroni.AS_POSTGRES, patroni.PSQL, "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1")
        where = ("-d", self.platform.settings.postgresql.database, "-f", "-")
        done = await self.provider.run(node, (*argv, *where), stdin=statement.encode(), timeout=SQL_S)
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise StageError(f"SQL on {node}: {said[-1] if said else f'psql left with {done.status}'}")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]


def view_of(stage: Stage, seen: Snapshot, site: str) -> View:
    """Who is who right now. Raises StageError where nobody is primary, or where sites are lost."""
    if lost := [lost.name for lost in stage.platform.lost_sites]:
        raise StageError(
            f"expected all sites, since a drill takes one of them away, found that {', '.join(lost)} "
            f"{'is' if len(lost) == 1 else 'are'} lost: `tercet recover rejoin` first"
        )
    if seen.postgres.primary is None:
        raise StageError("expected a primary before the drill, found none; see `tercet status`")
    order = stage.databases
    standbys = sorted(
        (member.node for member in seen.postgres.members if member.node != seen.postgres.primary),
        key=order.index,
    )
    leader = seen.consul["dcs"].leader or ""
    return View(stage.platform, seen.postgres.primary, tuple(standbys), leader, site)


def nodes_of(seen: Snapshot) -> tuple[journal.NodeOf, ...]:
    """Every node with its tailnet address, for the journal's beginning."""
    return tuple(
        journal.NodeOf(name=node.name, site=site.name, role=node.role, address=node.address)
        for site in seen.sites
        for node in site.nodes
    )


async def clocks(stage: Stage, nodes: Iterable[str]) -> dict[str, NodeClock]:
    """The clock of each node that answers, from three questions for the time."""

    async def one(node: str) -> tuple[str, NodeClock] | None:
        samples: list[Sample] = []
        for _ in range(3):
            sent = time.time()
            try:
                done = await stage.provider.run(node, ("date", "+%s.%N"), timeout=5)
                samples.append(Sample(sent, float(done.stdout), time.time()))
            except (Unreachable, ValueError):
                continue
        return (node, estimate(samples)) if samples else None

    return dict(found for found in await asyncio.gather(*(one(node) for node in nodes)) if found)


async def component_records(stage: Stage, known: Mapping[str, NodeClock], began: float) -> list[journal.Record]:
    """What every reachable node's components said since the drill began, on the drill's clock."""

    async def one(node: str) -> list[journal.Record]:
        clock = known.get(node, NodeClock(0.0, 0.0))
        try:
            done = await stage.provider.run(node, records.command(began + clock.offset - 1), timeout=30)
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

    found = await asyncio.gather(*(one(node.name) for node in stage.platform.nodes))
    return sorted((record for of_node in found for record in of_node), key=lambda record: record.t)


def primary_changes(first: str, found: Sequence[journal.Record]) -> list[journal.Primary]:
    """Who was primary from when on: a promotion counts from the moment the promoted node accepts writes."""
    changes = [journal.Primary(t=0.0, node=first)]
    for taken in (record for record in found if record.what == records.What.LOCK_TAKEN):
        if taken.node == changes[-1].node:
            continue
        ready = next(
            (r.t for r in found if r.node == taken.node and r.what == records.What.READY and r.t >= taken.t), taken.t
        )
        changes.append(journal.Primary(t=min(ready, taken.t + 5.0), node=taken.node))
    return changes


SETTLED_S = 8.0
"""Seconds after a change within which a site's reads may go elsewhere: checks, templates and proxies follow."""


def routes(
    platform: Platform, changes: Sequence[journal.Primary], hit: frozenset[str], roaming: frozenset[str], since: float
) -> list[journal.Route]:
    """Where each site's reads belong over time: to its own database node, except while that changes its role.

    From `since` (the fault) on, neither the sites of `hit` database nodes nor the `roaming` ones are judged.
    """
    found: list[journal.Route] = []
    for node in platform.of(Role.DB):
        own = journal.Route(t=0.0, site=node.site, reads=(node.name,))
        found.append(own)
        moments = [after.t for before, after in pairwise(changes) if node.name in (before.node, after.node)]
        if node.name in hit or node.site in roaming:
            found.append(own.model_copy(update={"t": since, "reads": ()}))
            continue
        for moment in moments:
            found.append(own.model_copy(update={"t": max(0.0, moment - SETTLED_S), "reads": ()}))
            found.append(own.model_copy(update={"t": moment + SETTLED_S}))
    return found


async def tables(stage: Stage, table: str, began: float, t: float, bounds: Bounds | None = None) -> list[journal.Table]:
    """The drill's table, or what is within the bounds of it, as every database node that answers has it."""
    found: list[journal.Table] = []
    for node in stage.databases:
        try:
            rows = await stage.sql(node, table_query(table, bounds))
        except (StageError, Unreachable):
            continue
        for writer, of_writer in groupby(rows, key=lambda row: row[0]):
            kept = tuple((int(seq), id_, float(written) - began) for _, seq, id_, written in of_writer)
            found.append(journal.Table(t=t, node=node, writer=writer, rows=kept))
    return found


async def caught_up(stage: Stage, primary: str, deadline: float) -> None:
    """Wait until every standby that answers has replayed what the primary has now; at most `deadline` seconds."""
    ends = time.monotonic() + deadline
    lsn = (await stage.sql(primary, "SELECT pg_current_wal_lsn()"))[0][0]
    for node in stage.databases:
        while node != primary and time.monotonic() < ends:
            try:
                behind = await stage.sql(node, f"SELECT pg_wal_lsn_diff('{lsn}', pg_last_wal_replay_lsn()) > 0")
            except (StageError, Unreachable):
                break
            if behind[0][0] == "f":
                break
            await asyncio.sleep(0.2)


async def running(stage: Stage, primary: str) -> Running:
    """The numbers of the running configuration, from the agents themselves. Raises StageError."""
    dcs = endpoints.dcs(stage.platform)
    asked = {
        primary: {
            "agent": Http(dcs, "/v1/agent/self"),
            "members": Http(dcs, "/v1/agent/members"),
            "patroni": Http(endpoints.patroni(stage.platform, primary), "/config"),
        }
    }
    readings = await ask(stage.provider, asked, timeout=10)
    agent, members = (readings.get(primary, name).json() for name in ("agent", "members"))
    patroni = readings.get(primary, "patroni").json()
    if not (isinstance(agent, dict) and isinstance(members, list) and isinstance(patroni, dict)):
        raise StageError(f"expected {primary}'s dcs agent and Patroni to tell their configuration, found no answer")
    gossip = agent["DebugConfig"]
    links = stage.platform.settings.lab.links if stage.platform.settings.provider == "lab" else ()
    parameters = patroni.get("postgresql", {}).get("parameters", {})
    return Running(
        members=len(members),
        probe_interval=duration(gossip["GossipLANProbeInterval"]),
        gossip_interval=duration(gossip["GossipLANGossipInterval"]),
        suspicion_mult=int(gossip["GossipLANSuspicionMult"]),
        loop_wait=float(patroni["loop_wait"]),
        one_way=max((link.latency_ms for link in links), default=0.0) / 1000,
        guard_probe=timing_of(stage.platform.settings).peer_probe_ms / 1000,
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
