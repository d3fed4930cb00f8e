"""`recover dcs`: restores the data of `dcs` when all its servers have lost it.

The lost data is what Patroni stored there: the identity of the cluster, the primary, and the standbys that had its last
commits. The WAL of the database nodes shows this again (observe/reach.py). So a new Raft is created, with the same keys
that Patroni would find after a power cut. From then on Patroni's own rules apply, even on nodes that could not be
reached. Only then is the chosen node started, and when it leads, the others are started.

Each step first checks whether it is already done, so an interrupted run can be continued by running it again.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tercet.components import endpoints
from tercet.components.consul.access import stretched
from tercet.components.consul.component import alive
from tercet.components.dcs import component as dcs
from tercet.components.dcs.declaration import UNIT as DCS_UNIT
from tercet.components.patroni import component as patroni
from tercet.components.patroni import readonly
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Unreachable
from tercet.converge.gates import explain, wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Active, Http, Request
from tercet.datafile import text_of
from tercet.errors import TercetError
from tercet.inventory.platform import Platform, Role
from tercet.observe.reach import PROBE_S, Databases, Reach, probe, survey_of
from tercet.operations.tokens import create_tokens
from tercet.session.session import Session, operator

LOOK_S = 10.0
RAFT_S = 20.0  # seconds; servers that have a Raft elect a leader within about 5
CREATED_S = 60.0
LEADS_S = 600.0  # PostgreSQL's recovery after a crash replays up to max_wal_size
STOPPED = ("inactive", "failed")
NOTHING_READ = Databases(())

STOP_POSTGRES = text_of(
    __package__,
    "recover_dcs-stop-postgres.sh",
    PATRONI=patroni.UNIT,
    READONLY=readonly.UNIT,
    DATA=patroni.DATA,
    BIN=patroni.BIN,
    AS_POSTGRES=" ".join(patroni.AS_POSTGRES),
)
STOP_SERVER = text_of(__package__, "recover_dcs-stop-server.sh", UNIT=DCS_UNIT, DATA=dcs.DATA)
START_SERVER = f"systemctl reset-failed {DCS_UNIT} 2>/dev/null; systemctl start {DCS_UNIT}"
START_POSTGRES = f"systemctl reset-failed {patroni.UNIT} 2>/dev/null; systemctl start --no-block {patroni.UNIT}"


@dataclass(frozen=True, slots=True)
class DcsState:
    """What was found.

    `recorded`: `dcs` knows the cluster, so no leader must be chosen. `named` is the last primary according to `dcs`.
    `stopped` has the database nodes whose Patroni does not run. `silent` says why a server of `dcs` does not answer,
    and `apart` which servers do not see each other. If nothing is wrong, `survey` is empty. `unsure` is
    `Survey.unsure`.
    """

    leader: str
    recorded: bool
    named: str
    stopped: tuple[str, ...]
    silent: dict[str, str]
    apart: tuple[str, ...]
    survey: Databases = NOTHING_READ
    unsure: str | None = None

    @property
    def decided(self) -> bool:
        return bool(self.leader) and self.recorded

    @property
    def fine(self) -> bool:
        return self.decided and not self.stopped


@dataclass(frozen=True, slots=True)
class Recovered:
    """The new leader, and for each other node the bytes of WAL that only it had. Empty if there was no choice
    to make.
    """

    leader: str
    lost: dict[str, int]


async def examine(session: Session, emit: Emit) -> DcsState:
    """Examine `dcs` and, if something is wrong, the WAL of every database node. Changes nothing."""
    platform = session.platform
    component, cluster = dcs.Dcs(session.context), patroni.Patroni(session.context)
    agent = endpoints.dcs(platform, session.context.secrets)
    asked: dict[str, dict[str, Request]] = {}
    for node in platform.of(Role.CONTROL):
        asked[node.name] = {**component.questions(node)}
        for key in ("initialize", "sync"):
            asked[node.name][key] = Http(agent, f"/v1/kv/{cluster.key(key)}?raw&consistent")
    for node in platform.of(Role.DB):
        asked[node.name] = {"unit": Active(patroni.UNIT)}
    readings = await ask(session.provider, asked, timeout=LOOK_S)
    controls = [node.name for node in platform.of(Role.CONTROL)]
    databases = [node.name for node in platform.of(Role.DB)]
    leader, _ = dcs.raft_of(readings, controls)
    found = DcsState(
        leader=leader,
        recorded=any(readings.get(name, "initialize").ok for name in controls),
        named=_named(readings, controls),
        stopped=tuple(name for name in databases if readings.get(name, "unit").text in STOPPED),
        silent={
            name: readings.silence(name) or readings.get(name, "dcs.leader").why()
            for name in controls
            if not readings.get(name, "dcs.leader").ok
        },
        apart=_apart(readings, controls),
    )
    if found.fine:
        return found
    emit(Event("dcs", "progress", f"how far does the WAL of {', '.join(databases)} reach?"))
    survey = await read_wal(session)
    return replace(found, survey=survey, unsure=survey.unsure(platform))


async def read_wal(session: Session) -> Databases:
    """How far each database node's WAL reaches."""
    databases = [node.name for node in session.platform.of(Role.DB)]
    readings = await ask(session.provider, {name: {"reach": probe()} for name in databases}, timeout=PROBE_S + 5)
    return survey_of(readings, databases, "reach")


def _apart(readings: Readings, controls: Sequence[str]) -> tuple[str, ...]:
    """Descriptions of the servers that do not see others."""
    unseen = {name: sorted(set(controls) - alive(readings, name, "dcs.members")) for name in controls}
    return tuple(f"{name} does not see {', '.join(others)}" for name, others in unseen.items() if others)


def _named(readings: Readings, controls: Iterable[str]) -> str:
    for control in controls:
        said = readings.get(control, "sync").json()
        if isinstance(said, dict) and said.get("leader"):
            return str(said["leader"])
    return ""


async def recover_dcs(session: Session, leader: str | None, shown: Databases, emit: Emit) -> Recovered | None:
    """Bring `dcs` back with `leader` as the primary; None if there was nothing to do.

    `shown` is what the operator agreed to. `leader` is None if `dcs` knows the cluster, so that nothing was asked.

    Raises TercetError with the obstacle. Nothing is deleted.
    """
    async with session.provider.lock(operator("recover dcs")):
        found = await examine(session, emit)
        if not found.leader:
            found = await _servers_run(session, emit)
        if found.fine:
            return None
        survey, lost = found.survey, dict[str, int]()
        if found.decided:
            leader = found.named or survey.best().node
        elif leader is None:
            raise TercetError("dcs has lost its data since it was examined: run `tercet recover dcs` again")
        else:
            if not survey.of(leader).writes:
                survey = await stand_still(session, survey, emit)
            _agreed(leader, shown, survey)
            if not found.leader:
                await new_raft(session, emit)
            await record(session, survey.of(leader), emit)
            lost = survey.lost(survey.of(leader))
        await lead(session, leader, emit)
        await follow(session, leader, survey, emit)
        return Recovered(leader, lost)


async def _servers_run(session: Session, emit: Emit) -> DcsState:
    """Start the servers of `dcs` that do not run, and give them time to elect a leader with the data that they have."""
    controls = [node.name for node in session.platform.of(Role.CONTROL)]
    emit(Event("dcs", "started", "the servers of dcs have no leader: are they running?"))
    await on_each(session, controls, START_SERVER, timeout=60)
    await _elected(session, RAFT_S, lost=True)
    found = await examine(session, emit)
    if found.silent and not found.leader:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.silent.items())
        raise TercetError(
            f"expected every server of dcs to run, because one that comes later with old data does not fit the "
            f"new Raft, found: {reasons}. Start these nodes, then `tercet recover dcs` again. Nothing was changed"
        )
    if found.apart and not found.leader:
        raise TercetError(
            f"expected the servers of dcs to see each other, found: {'; '.join(found.apart)}. Repair their network "
            f"or tailnet: they then elect a leader with the data that they have. Nothing was changed"
        )
    return found


async def _elected(session: Session, seconds: float, *, lost: bool = False) -> str:
    """Wait until the servers have a leader. Returns what is wrong otherwise; with `lost`, at once if none has a
    Raft.
    """
    nodes = session.platform.of(Role.CONTROL)
    controls = [node.name for node in nodes]

    def check(readings: Readings) -> State:
        leader, _ = dcs.raft_of(readings, controls)
        gone = lost and dcs.lost(readings, controls) and not _apart(readings, controls)
        return Passing(leader) if leader or gone else Waiting("they have no leader")

    condition = Condition("the servers of dcs", check, tuple((name, DCS_UNIT) for name in controls))
    asked = {node.name: dcs.Dcs(session.context).questions(node) for node in nodes}
    return await explain(await wait_for([condition], asked, session.provider, deadline=seconds), session.provider)


async def stand_still(session: Session, survey: Databases, emit: Emit) -> Databases:
    """Stop Patroni and PostgreSQL on every database node that answers, then read how far their WAL reaches."""
    names = [*(reach.node for reach in survey.reaches), *survey.empty]
    emit(Event("dcs", "progress", f"PostgreSQL stops on {', '.join(names)}"))
    await on_each(session, names, STOP_POSTGRES, timeout=120)
    return await read_wal(session)


def _agreed(leader: str, shown: Databases, survey: Databases) -> None:
    """Raises TercetError if more would be lost than was shown."""
    expected = shown.lost(shown.of(leader))
    lost = survey.lost(survey.of(leader))
    more = [f"{size} bytes of {name}" for name, size in lost.items() if size > expected.get(name, 0)]
    if more:
        raise TercetError(
            f"with {leader} more would be lost than was shown: {', '.join(more)}. Run this again to see it"
        )


async def new_raft(session: Session, emit: Emit) -> None:
    """Start all servers without their old Raft, one of them with the permission to create a new one."""
    platform, component = session.platform, dcs.Dcs(session.context)
    controls = [node.name for node in platform.of(Role.CONTROL)]
    server = dcs.bootstrap_server(platform).name
    emit(Event("dcs", "progress", "the servers start without what is left of their data", server))
    await on_each(session, controls, STOP_SERVER, timeout=60)
    given = await ask(session.provider, {server: {"given": component.permission()}}, timeout=15)
    if not given.get(server, "given").ok:
        raise TercetError(f"{server} did not take the permission: {given.get(server, 'given').why()}; run this again")
    await on_each(session, controls, START_SERVER, timeout=60)
    if text := await _elected(session, CREATED_S):
        raise TercetError(f"after {CREATED_S:g} s; run this again\n{text}")
    await create_tokens(session, stretched(session.context))


async def record(session: Session, leader: Reach, emit: Emit) -> None:
    """Write what Patroni would find in `dcs` if nothing had been lost, with `leader` as the last primary. All or
    nothing, and only if no cluster is recorded.
    """
    platform, cluster = session.platform, patroni.Patroni(session.context)
    values = remembered(platform, cluster, leader)
    create = put(cluster.key("initialize"), leader.system) | {"Verb": "cas", "Index": 0}
    recovered = put(cluster.key("recovered"), datetime.now(UTC).isoformat())  # for nodeside/leadkey.py
    changes = [create, recovered, *(put(cluster.key(name), json.dumps(value)) for name, value in values.items())]
    body = json.dumps([{"KV": change} for change in changes]).encode()
    request = Http(endpoints.dcs(platform, session.context.secrets), "/v1/txn", "PUT", body)
    control = dcs.bootstrap_server(platform).name
    answer = (await ask(session.provider, {control: {"record": request}}, timeout=15)).get(control, "record")
    # A primary that ran all the time may have written this already, with better data.
    if not answer.ok and not (leader.writes and (await examine(session, emit)).recorded):
        raise TercetError(f"dcs did not take what is known of the cluster: {answer.why()}. Run this again")
    emit(Event("dcs", "progress", f"dcs knows the cluster again, with {leader.node} as its last primary"))


def remembered(platform: Platform, cluster: patroni.Patroni, leader: Reach) -> dict[str, object]:
    """Patroni's keys in addition to `initialize`.

    `sync` says that every acknowledged write is on `confirming` of the others. So a node leads only if enough others
    say that they have no more WAL. If no standby confirms, there is no such key.
    """
    others = [node.name for node in platform.of(Role.DB) if node.name != leader.node]
    quorum = len(others) - platform.confirming
    sync = {"leader": leader.node, "sync_standby": ",".join(sorted(others)), "quorum": quorum}
    return {
        "config": cluster.dynamic(),
        **({"sync": sync} if platform.confirming else {}),
        "history": [[timeline, end, "known from its history file"] for timeline, end in leader.switches],
        "status": {"optime": leader.end},
    }


async def lead(session: Session, leader: str, emit: Emit) -> None:
    """Start the chosen node's Patroni, and wait until it leads."""
    emit(Event("dcs", "progress", f"{leader} starts, and must lead", leader))
    await on_each(session, [leader], START_POSTGRES, timeout=30)
    databases = [node.name for node in session.platform.of(Role.DB)]

    def leads(readings: Readings) -> State:
        primary = patroni.primary_of(readings, databases)
        return Passing() if primary == leader else Waiting(f"{primary or 'no node'} is primary")

    units = ((leader, patroni.UNIT),)
    await _until(session, Condition(f"{leader} leads", leads, units), "PostgreSQL recovers from its WAL first")


async def follow(session: Session, leader: str, survey: Databases, emit: Emit) -> None:
    """Start Patroni on the other nodes, and wait until those that were read follow."""
    databases = [node.name for node in session.platform.of(Role.DB)]
    others = [name for name in databases if name != leader and name not in survey.silent]
    emit(Event("dcs", "progress", f"{', '.join(others) or 'no node'} can follow"))
    await on_each(session, others, START_POSTGRES, timeout=30)

    def followed(readings: Readings) -> State:
        states = {str(m["name"]): str(m.get("state")) for m in patroni.members_of(readings, databases)}
        late = [f"{name} is {states.get(name, 'no member')}" for name in others if states.get(name) != "streaming"]
        return Waiting("; ".join(late)) if late else Passing()

    units = tuple((name, patroni.UNIT) for name in others)
    await _until(
        session, Condition(f"{', '.join(others)} follow {leader}", followed, units), "they may have to be cloned again"
    )
    emit(Event("dcs", "done", f"{leader} leads"))


async def _until(session: Session, condition: Condition, patience: str) -> None:
    component = patroni.Patroni(session.context)
    asked = {node.name: component.questions(node) for node in session.platform.of(Role.DB)}
    judged = await wait_for([condition], asked, session.provider, deadline=LEADS_S)
    if text := await explain(judged, session.provider):
        raise TercetError(f"after {LEADS_S:g} s ({patience}); run this again to continue\n{text}")


async def on_each(session: Session, nodes: Iterable[str], script: str, *words: str, timeout: float) -> None:
    """Run the script with these arguments on all nodes in parallel. Raises TercetError with those where it failed."""

    async def one(node: str) -> str:
        try:
            done = await session.provider.run(node, ("sh", "-c", script, "sh", *words), timeout=timeout)
        except Unreachable as error:
            return str(error)
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.status}"
        return f"{node}: {said}" if done.status else ""

    failed = [problem for problem in await asyncio.gather(*(one(node) for node in nodes)) if problem]
    if failed:
        raise TercetError(f"{'; '.join(failed)}. Repair this, then run the command again to continue")


def put(key: str, value: str) -> dict[str, object]:
    return {"Verb": "set", "Key": key, "Value": base64.b64encode(value.encode()).decode()}
