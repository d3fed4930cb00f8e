"""`recover rejoin`: takes lost sites back as standbys when their servers work again.

Their data diverged from the platform's and must not take part: neither their Raft servers, which would vote and write
with old data, nor their databases. So this data is moved aside on their own disks, and the nodes join as if they were
new. What only they had is shown first, and exported on request.

1. The remaining nodes record that a return is under way, so that no `apply` runs in between.
2. On the returned nodes, which are still shut out, everything with old data is stopped and moved aside.
3. These sites are removed from the lost sites in the inventory and in the record; other lost sites stay.
4. `up` lets them in: into the tailnet, `dcs` and Nomad, and as standbys that are copied from the primary.

Each step first checks whether it is already done, so an interrupted run can be continued by running it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tercet.components.consul import component as consul
from tercet.components.consul.declaration import UNIT as CONSUL_UNIT
from tercet.components.dcs import component as dcs
from tercet.components.dcs.declaration import UNIT as DCS_UNIT
from tercet.components.identity import membership
from tercet.components.nomad import component as nomad
from tercet.components.patroni import component as patroni
from tercet.components.patroni import rewind
from tercet.converge.events import Emit, Event
from tercet.converge.observe import ask
from tercet.converge.target import Verb
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory import lost as inventory
from tercet.inventory.platform import Role
from tercet.observe.beyond import Returned, parted, question, returned
from tercet.observe.reach import PROBE_S, probe, survey_of
from tercet.operations.export import export
from tercet.operations.recover_dcs import STOP_POSTGRES, on_each
from tercet.operations.shutout import let_in
from tercet.operations.site_alone import write_record
from tercet.operations.up import Raised, up
from tercet.providers.base import Survey as Containers
from tercet.session.session import Session, operator

PHASE = "rejoin"
LOOK_S = 10.0
CLONE_S = 6 * 3600.0  # seconds for the base backups of a large database over a WAN; progress is shown meanwhile

STOP_AGENTS = text_of(__package__, "rejoin-stop-agents.sh")
SERVERS_ASIDE = text_of(__package__, "rejoin-servers-aside.sh", DCS=dcs.DATA, NOMAD=nomad.SERVER, CONSUL=consul.DATA)
DATABASE_ASIDE = text_of(
    __package__,
    "rejoin-database-aside.sh",
    DATA=patroni.DATA,
    AS_POSTGRES=" ".join(patroni.AS_POSTGRES),
    ASIDE=rewind.ASIDE,
    ASIDE_SETTINGS=rewind.ASIDE_SETTINGS,
)


@dataclass(frozen=True, slots=True)
class Back:
    """What was found: the sites that come back, those that stay lost, and what their databases have. `record` is the
    record of the remaining nodes.
    """

    sites: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    databases: tuple[Returned, ...] = ()
    record: membership.Record = membership.NOTHING

    @property
    def loses(self) -> str:
        """What only they have, in words; "" if they have no transactions of their own."""
        only = [f"{each.node} has {each.commits} transactions" for each in self.databases if each.commits]
        return f"{' and '.join(only)} that the platform does not have" if only else ""


@dataclass(frozen=True, slots=True)
class Rejoined:
    """What was done, with the proof."""

    changed: bool
    raised: Raised
    exported: tuple[Path, ...] = ()


async def examine(session: Session, wanted: Sequence[str], emit: Emit) -> Back:
    """Examine the sites that come back: `wanted`, or all lost ones. Starts their stopped containers, and changes
    nothing else. Raises TercetError with the obstacle.
    """
    record = await _record(session)
    sites = _sites(session, record, wanted)
    if not sites:
        return Back(record=record)
    lost = tuple(name for name in record.lost if name not in sites)
    back = session.losing(*lost)
    names = ", ".join(sites)
    emit(Event(PHASE, "started", f"what do the databases of {names} have?"))
    await _awake(back, sites, emit)
    platform = back.platform
    survivor = record.survivor
    asked = [survivor, *(platform.at(site, Role.DB).name for site in sites)]
    readings = await ask(back.provider, {name: {"reach": probe()} for name in asked}, timeout=PROBE_S + 5)
    survey = survey_of(readings, asked, "reach")
    if survey.silent:
        raise TercetError(
            f"expected every database node to report what it has, found: {'; '.join(survey.silent.values())}. "
            "Nothing was changed; start these nodes, then run this again"
        )
    base = survey.of(survivor)
    forks = {reach.node: parted(record, base, reach) for reach in survey.reaches if reach.node != survivor}
    beyond = {reach.node: {"beyond": question(reach, forks[reach.node])} for reach in survey.reaches if reach != base}
    readings = await ask(back.provider, beyond, timeout=PROBE_S + 5)
    found: list[Returned] = []
    for name in asked[1:]:
        if name in survey.empty:
            found.append(Returned(name))
            continue
        each = returned(survey.of(name), forks[name], readings.get(name, "beyond"))
        if each is None:
            why = readings.silence(name) or readings.get(name, "beyond").why()
            raise TercetError(f"{name} does not report what its WAL has: {why}. Nothing was changed; run this again")
        found.append(each)
    return Back(sites, lost, tuple(found), record)


async def _record(session: Session) -> membership.Record:
    """The record of the remaining nodes. Raises TercetError if it does not fit the inventory or no node has it."""
    nodes = membership.holders(session.platform)
    readings = await ask(session.provider, {node.name: {"it": membership.READ} for node in nodes}, timeout=LOOK_S)
    answers = {node.name: readings.get(node.name, "it") for node in nodes}
    record = membership.known(answers)
    if not record.returning:
        membership.agree(session.platform, answers)
    if session.platform.lost_sites and record == membership.NOTHING:
        silent = "; ".join(filter(None, (readings.silence(name) for name in answers)))
        raise TercetError(
            f"expected the remaining nodes to know which sites are lost, found: {silent or 'no record'}. Nothing "
            "was changed"
        )
    return record


def _sites(session: Session, record: membership.Record, wanted: Sequence[str]) -> tuple[str, ...]:
    """The sites that come back, in the inventory's order. A site that is not lost needs only `up`: an interrupted run
    of this command may have taken it back.
    """
    order = [site.name for site in session.platform.settings.sites]
    if unknown := [name for name in wanted if name not in order]:
        raise TercetError(f"there is no site {unknown[0]}: expected one of {', '.join(order)}")
    if record.returning and wanted and set(wanted) & set(record.lost) != set(record.returning):
        raise TercetError(
            f"expected the return of {', '.join(record.returning)} to be complete first: `tercet recover rejoin "
            f"{' '.join(record.returning)}`. Nothing was changed"
        )
    chosen = wanted or record.returning or record.lost
    return tuple(name for name in order if name in chosen and name in record.lost)


async def _awake(back: Session, sites: Sequence[str], emit: Emit) -> Containers:
    """Start the stopped containers of the returned sites. They are still shut out, so the programs in them wait."""
    containers = await back.provider.survey()
    mine = [node.name for node in back.platform.nodes if node.site in sites]
    if away := [f"{name}: {containers.away[name]}" for name in mine if name in containers.away]:
        raise TercetError(
            f"expected the servers of {', '.join(sites)} to work again, found: {'; '.join(away)}. Nothing was changed"
        )
    doing = operator(f"recover rejoin {' '.join(sites)}: containers")
    concerned = [each for each in containers.changes if each.target.name in mine]
    if changes := [each for each in concerned if each.verb is Verb.START]:
        async with back.provider.lock(doing):
            await back.provider.prepare(changes, emit)
    if absent := [each.what for each in concerned if each.verb is Verb.CREATE]:
        emit(Event(PHASE, "progress", f"made again, because nothing is left of it: {', '.join(absent)}"))
        async with back.provider.lock(doing):
            await back.provider.prepare([each for each in containers.changes if each.verb is not Verb.BUILD], emit)
    return containers


async def rejoin(session: Session, shown: Back, to: Path | None, emit: Emit) -> Rejoined:
    """Take the sites back that were shown; `to` is the folder for what only they had. Raises TercetError with the
    obstacle; run it again to continue.
    """
    if not shown.sites:
        raised = await up(session, emit, gates={"patroni": CLONE_S})
        return Rejoined(not raised.plan.empty, raised)
    left = tuple(name for name in shown.record.lost if name not in shown.sites)
    back = session.losing(*left)
    command = f"rejoin {' '.join(shown.sites)}"
    async with back.provider.lock(operator(f"recover {command}")):
        record = await _record(session)
        if record.lost != shown.record.lost:
            raise TercetError(
                "other sites are lost now than were shown: run this again to see them. Nothing was changed"
            )
        survivors = session.losing(*record.lost)
        await write_record(survivors, replace(record, returning=shown.sites))
        exported = await _aside(back, shown, to, emit)
        await let_in(back, shown.sites, emit)
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        inventory.write(session.file, left, command, when)
        emit(Event(PHASE, "progress", f"{session.file} says that {', '.join(left) or 'no site'} is lost"))
        await write_record(back, replace(record, lost=left, returning=()) if left else membership.NOTHING)
    return Rejoined(True, await up(back, emit, gates={"patroni": CLONE_S}), exported)


async def _aside(back: Session, shown: Back, to: Path | None, emit: Emit) -> tuple[Path, ...]:
    """Stop the programs with old data on the returned nodes and move their data aside. Export what only they
    had first.
    """
    platform = back.platform
    databases = [platform.at(site, Role.DB).name for site in shown.sites]
    controls = [platform.at(site, Role.CONTROL).name for site in shown.sites]
    emit(Event(PHASE, "progress", f"PostgreSQL stops on {', '.join(databases)}"))
    await on_each(back, databases, STOP_POSTGRES, timeout=120)
    everywhere = [node.name for node in platform.nodes if node.site in shown.sites]
    await on_each(back, everywhere, STOP_AGENTS, DCS_UNIT, nomad.UNIT, CONSUL_UNIT, timeout=60)
    exported = await export(back, shown.databases, to, emit) if to is not None else ()
    emit(Event(PHASE, "progress", f"the servers' Raft goes aside on {', '.join(controls)}"))
    await on_each(back, controls, SERVERS_ASIDE, timeout=60)
    for each in shown.databases:
        if each.reach is None:
            continue
        emit(Event(PHASE, "progress", "its database goes aside", each.node))
        reason = f"its site was lost: {each.size} bytes of WAL and {each.commits} transactions are only here"
        await on_each(back, [each.node], DATABASE_ASIDE, reason, timeout=300)
    return exported
