"""`recover site-alone`: lets the last site continue alone when all other sites are permanently lost.

The last site has no majority, neither in `dcs` nor in Nomad, so it takes no writes. This is correct while the others
may be alive, because the last site cannot know what they do. A person can know, and declares them lost. Then

1. the lost sites are recorded in the inventory and on the remaining nodes (inventory/lost.py,
   components/identity/membership.py);
2. these sites are shut out, so that they stay lost until they are taken back (operations/shutout.py);
3. `dcs` gets a new Raft of one server, with what Patroni would find there if the site had always been alone. The old
   Raft is moved aside. When its other servers return, they continue where they stopped, and a leader among them would
   write into the log of a server that it remembers by its address;
4. Nomad keeps its Raft, because the jobs are in it, but with this server as its only member (Nomad's `peers.json`);
5. the database becomes primary, which begins a new timeline, and `apply` does the rest for a platform of one site.

Each step first checks whether it is already done, so an interrupted run can be continued by running it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tercet.components import endpoints
from tercet.components.dcs import component as dcs
from tercet.components.identity import membership
from tercet.components.nomad import component as nomad
from tercet.components.nomad.declaration import NomadPorts
from tercet.components.patroni import component as patroni
from tercet.components.tailscale.component import INTERFACE
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.gates import explain, wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Active, Answer, Http, Request
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory import lost as inventory
from tercet.inventory.platform import Role
from tercet.observe.reach import Databases, Reach
from tercet.operations.recover_dcs import lead, new_raft, on_each, read_wal, record, stand_still
from tercet.operations.shutout import shut_out
from tercet.operations.up import Raised, up
from tercet.session.session import Session, operator

PHASE = "site-alone"
LOOK_S = 10.0
NOMAD_S = 60.0  # seconds until a server that is alone has elected itself; it takes about 3

NOMAD_ALONE = text_of(__package__, "site_alone-nomad.sh", UNIT=nomad.UNIT, SERVER=nomad.SERVER, INTERFACE=INTERFACE)


@dataclass(frozen=True, slots=True)
class Known:
    """What the site's server of `dcs` last knew about the database. It may have missed the latest changes, so it proves
    nothing. `optime` is the position in the WAL that the primary reported last, 0 if it is unknown.
    """

    leader: str = ""
    standbys: tuple[str, ...] = ()
    quorum: int = 0
    optime: int = 0


@dataclass(frozen=True, slots=True)
class SiteState:
    """What was found. `reach` is what the site's database has. `alive` has running nodes of the other sites, and
    `members` the servers of `dcs` that have a leader together. If there are any of these, the others are not lost.

    `begun`: the operator agreed in an earlier run. The other fields say which steps are done.
    """

    site: str
    lost: tuple[str, ...]
    reach: Reach | None
    problem: str = ""
    known: Known = Known()
    alive: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    begun: bool = False
    alone: bool = False
    recorded: bool = False
    leads: bool = False
    nomad_alone: bool = False
    record: membership.Record = field(default=membership.NOTHING)

    @property
    def done(self) -> bool:
        return self.begun and self.alone and self.recorded and self.leads and self.nomad_alone

    @property
    def missing(self) -> int | None:
        """The number of bytes of the primary's WAL that are missing at least; None if it is unknown."""
        if self.reach is None or not self.known.leader:
            return None
        return 0 if self.known.leader == self.reach.node else max(0, self.known.optime - self.reach.end)

    @property
    def doubt(self) -> str:
        """What cannot be known about writes that the others may have, in one sentence."""
        node = self.reach.node if self.reach else "its database"
        if not self.known.leader:
            return f"it is unknown here which node was primary, and so what {node} lacks"
        if self.known.leader == node:
            return f"{node} was the primary: it lacks only what was written if the others went on without it"
        if self.missing:
            return f"{node} lacks at least {self.missing} bytes of WAL of the primary {self.known.leader}"
        if node in self.known.standbys and self.known.quorum == 0:
            return f"every write needed {node}: it lacks only what was written if the others went on without it"
        return (
            f"{node} has everything that the primary {self.known.leader} last reported; what was written after that "
            f"may have been confirmed by another standby"
        )


def alone(session: Session, site: str) -> Session:
    """The platform with only this site. Raises TercetError if there is no such site."""
    names = [each.name for each in session.platform.settings.sites]
    if site not in names:
        raise TercetError(f"there is no site {site}: expected one of {', '.join(names)}")
    return session.losing(*(name for name in names if name != site))


async def examine(session: Session, site: str, emit: Emit) -> SiteState:
    """Examine the site, and whether the others are lost. Changes nothing."""
    left = alone(session, site)
    platform = left.platform
    control, database = platform.at(site, Role.CONTROL), platform.at(site, Role.DB)
    lost = tuple(each.name for each in platform.lost_sites)
    component, cluster = dcs.Dcs(left.context), patroni.Patroni(left.context)
    agent, servers = (of(platform, left.context.secrets) for of in (endpoints.dcs, endpoints.nomad))
    asked: dict[str, dict[str, Request]] = {
        control.name: {
            **component.questions(control),
            "peers": Http(agent, "/v1/operator/raft/configuration?stale"),
            "initialize": Http(agent, f"/v1/kv/{cluster.key('initialize')}?raw&consistent"),
            **{key: Http(agent, f"/v1/kv/{cluster.key(key)}?raw&stale") for key in ("sync", "status")},
            "nomad.leader": Http(servers, "/v1/status/leader"),
            "nomad.peers": Http(servers, "/v1/operator/raft/configuration?stale"),
            "record": membership.READ,
        },
        database.name: {
            **cluster.questions(database),
            "unit": Active(patroni.UNIT),
            "record": membership.READ,
        },
    }
    emit(Event(PHASE, "started", f"what does {site} have, and are {', '.join(lost)} lost?"))
    readings = await ask(left.provider, asked, timeout=LOOK_S)
    begun = [each.name for each in session.platform.lost_sites] == list(lost)
    leader, _ = dcs.raft_of(readings, [control.name])
    voters = _servers(readings.get(control.name, "peers"))
    members = tuple(voters) if leader and voters != [control.name] else ()
    alive = () if begun or members else await _alive(session, lost)
    problem = " and ".join(readings.silence(name) for name in asked if not readings.reachable(name))
    reach = None
    # Otherwise this is refused, and reading the WAL of a node that hangs takes minutes.
    if not (members or alive or problem):
        survey = await read_wal(left)
        reach = next(iter(survey.reaches), None)
        why = survey.silent.get(database.name, "it holds no data")
        problem = f"{database.name}: {why}" if reach is None else ""
    primary = patroni.primary_of(readings, [database.name])
    return SiteState(
        site=site,
        lost=lost,
        reach=reach,
        problem=problem,
        known=_known(readings, control.name),
        alive=alive,
        members=members,
        begun=begun,
        alone=bool(leader) and voters == [control.name],
        recorded=readings.get(control.name, "initialize").ok,
        leads=primary == database.name,
        nomad_alone=_nomad_alone(readings, control.name),
        record=membership.known({name: readings.get(name, "record") for name in asked}),
    )


async def _alive(session: Session, lost: Sequence[str]) -> tuple[str, ...]:
    """The running nodes of these sites, as far as the provider can reach them."""
    whole = session.losing()
    running = (await whole.provider.survey()).running
    return tuple(node.name for node in whole.platform.nodes if node.site in lost and node.name in running)


def _servers(answer: Answer) -> list[str]:
    """The names of the voters of a Raft."""
    said = answer.json()
    listed: list[dict[str, Any]] = (said.get("Servers") or []) if isinstance(said, dict) else []
    return [str(server["Node"]) for server in listed if server["Voter"]]


def _nomad_alone(readings: Readings, control: str) -> bool:
    voters = _servers(readings.get(control, "nomad.peers"))
    return voters == [f"{control}.global"] and bool(nomad.leader_of(readings, [control]))


def _known(readings: Readings, control: str) -> Known:
    sync, status = readings.get(control, "sync").json(), readings.get(control, "status").json()
    sync, status = (said if isinstance(said, dict) else {} for said in (sync, status))
    standbys = tuple(name for name in str(sync.get("sync_standby") or "").split(",") if name)
    optime = status.get("optime")
    leader, quorum = str(sync.get("leader") or ""), sync.get("quorum")
    return Known(leader, standbys, quorum if isinstance(quorum, int) else 0, optime if isinstance(optime, int) else 0)


def refuse(found: SiteState) -> None:
    """Raise TercetError if the others are not lost, or if this site lacks what it needs to continue."""
    sites = ", ".join(found.lost)
    if found.members:
        raise TercetError(
            f"expected {sites} to be lost, found that dcs works: {', '.join(found.members)} have a leader together. "
            "Nothing was changed"
            + (". Remove `lost_sites` from the inventory, then see `tercet status`" if found.begun else "")
        )
    if found.alive:
        raise TercetError(
            f"expected {sites} to be lost, found nodes that run: {', '.join(found.alive)}. Nothing was changed\n  Two "
            "sites that see each other continue as before. Repair their connection to this site, then see `tercet "
            "status`. If they must not come back, stop these nodes first"
        )
    if found.problem:
        raise TercetError(
            f"expected {found.site} to have a database and a server of dcs, found: {found.problem}. "
            "Nothing was changed. Start them first"
        )


async def site_alone(session: Session, shown: SiteState, emit: Emit) -> Raised:
    """Let the site continue alone. Returns the result of `up` at the end, with the proof.

    `shown` is what the operator agreed to. Raises TercetError with the obstacle.
    """
    left = alone(session, shown.site)
    async with left.provider.lock(operator(f"recover site-alone {shown.site}")):
        found = await examine(session, shown.site, emit)
        refuse(found)
        if not found.done:
            await _alone(left, found, emit)
    return await up(left, emit)


async def _alone(left: Session, found: SiteState, emit: Emit) -> None:
    site, reach = found.site, found.reach
    if reach is None:
        raise TercetError(found.problem)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    inventory.write(left.file, found.lost, f"site-alone {site}", when)
    emit(Event(PHASE, "progress", f"{left.file} says that {', '.join(found.lost)} are lost"))
    kept = found.record if found.record.lost == found.lost else None
    note = kept or membership.Record(found.lost, reach.node, reach.timeline, reach.end, when)
    await write_record(left, note)
    await shut_out(left, emit)
    if not (found.alone and found.recorded):
        survey = await stand_still(left, Databases((reach,)), emit)
        reach = survey.of(reach.node)
        if not (kept and found.alone):
            await write_record(left, replace(note, timeline=reach.timeline, end=reach.end))
        if not found.alone:
            await new_raft(left, emit)
        await record(left, reach, emit)
    if not found.nomad_alone:
        await _nomad(left, emit)
    await lead(left, reach.node, emit)


async def write_record(session: Session, note: membership.Record) -> None:
    """Write the record on every node that has one. Raises TercetError with the nodes where this failed."""
    nodes = [node.name for node in membership.holders(session.platform)]
    readings = await ask(session.provider, {name: {"write": membership.writing(note)} for name in nodes}, timeout=25)
    failed = [
        readings.silence(name) or f"{name}: {readings.get(name, 'write').why()}"
        for name in nodes
        if not readings.get(name, "write").ok
    ]
    if failed:
        raise TercetError(
            f"expected every node to record which sites are lost, found: {'; '.join(failed)}. Run this again"
        )


async def _nomad(left: Session, emit: Emit) -> None:
    """Make the site's server the only member of Nomad's Raft, and wait until it leads."""
    platform = left.platform
    [control] = platform.of(Role.CONTROL)
    emit(Event(PHASE, "progress", "Nomad continues with one server, and with its jobs", control.name))
    port = str(platform.settings.ports.of(NomadPorts).nomad_rpc)
    await on_each(left, [control.name], NOMAD_ALONE, port, timeout=60)
    servers = endpoints.nomad(platform, left.context.secrets)
    asked: Mapping[str, Mapping[str, Request]] = {
        control.name: {
            "nomad.leader": Http(servers, "/v1/status/leader"),
            "nomad.peers": Http(servers, "/v1/operator/raft/configuration?stale"),
        }
    }

    def check(readings: Readings) -> State:
        return Passing() if _nomad_alone(readings, control.name) else Waiting(f"{control.name} does not lead alone")

    condition = Condition("nomad: one server, which leads", check, ((control.name, nomad.UNIT),))
    judged = await wait_for([condition], asked, left.provider, deadline=NOMAD_S)
    if text := await explain(judged, left.provider):
        raise TercetError(f"after {NOMAD_S:g} s; run this again to continue\n{text}")
