"""Proves the specification's promises end to end on the running platform.

There are two kinds of proof, which run in parallel. The conditions of all components, with those of their `proof`, are
judged from one poll and awaited together until a deadline. Other proofs act: a Nomad job really runs in every
datacenter, and rows are written at every site through the application's own connection string and read back everywhere.
Each proof removes what it made.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.context import Context
from tercet.components.nomad.declaration import JOB_USER
from tercet.components.patroni import component as patroni
from tercet.components.proxy.component import Proxy
from tercet.components.proxy.declaration import ProxyPorts
from tercet.components.proxy.serving import PASSFILE
from tercet.components.registry import proofs
from tercet.converge.component import Component, Condition, Passing, Readings, State, Waiting
from tercet.converge.events import Emit, Event
from tercet.converge.fleet import Fleet
from tercet.converge.gates import wait_for
from tercet.converge.observe import ask
from tercet.converge.requests import Exec, Http
from tercet.datafile import text_of
from tercet.inventory.platform import Platform, Role
from tercet.observe.snapshot import conditions_of, questions

# Seconds that conditions may take to hold. tailscaled finds a direct path within seconds of traffic if both ends know
# their own addresses. It looks for these every 20 to 26 s, so this is enough for two attempts.
SETTLE_S = 60.0
JOB_S = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and whether it holds."""

    title: str
    state: State

    @property
    def holds(self) -> bool:
        return isinstance(self.state, Passing)

    @property
    def broken(self) -> bool:
        """Whether it does not hold and is not a known deviation."""
        return isinstance(self.state, Waiting)


async def verify(context: Context, components: Sequence[Component], fleet: Fleet, emit: Emit) -> list[Verdict]:
    """Judge every promise. Returns all verdicts in display order. A broken promise raises no error."""
    platform, proxy = context.platform, Proxy(context)
    conditions = conditions_of(components)
    asked = {name: dict(batch) for name, batch in questions(components, platform.containers).items()}
    for proof in proofs(context):
        conditions += proof.conditions
        for node, batch in proof.asked.items():
            asked[node] |= batch
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        emit(Event("verify", "progress", f"{JOB}; {ROWS}"))
        job = group.create_task(_job_runs(context, fleet))
        rows = group.create_task(_rows_travel(platform, proxy, fleet))
        results = await wait_for(conditions, asked, fleet, deadline=SETTLE_S)
        verdicts = [Verdict(condition.title, state) for condition, state in results]
        for verdict in verdicts:
            _tell(emit, verdict, started)
    # A proof that failed may have begun too early, so try it again.
    states = [job.result(), rows.result()]
    if not isinstance(states[0], Passing):
        states[0] = await _job_runs(context, fleet)
    if not isinstance(states[1], Passing):
        states[1] = await _rows_travel(platform, proxy, fleet)
    for title, state in zip((JOB, ROWS), states, strict=True):
        verdicts.append(Verdict(title, state))
        _tell(emit, verdicts[-1], started)
    return verdicts


def _tell(emit: Emit, verdict: Verdict, started: float) -> None:
    detail = verdict.state.detail if isinstance(verdict.state, Passing) else verdict.state.reason
    text = f"{verdict.title}: {detail}" if detail else verdict.title
    state = "failed" if verdict.broken else "done" if verdict.holds else "progress"
    emit(Event("verify", state, text, seconds=time.monotonic() - started))


JOB = "nomad: a job runs in every datacenter"
ROWS = "routing: rows written at every site are read back at every site"


async def _job_runs(context: Context, fleet: Fleet) -> State:
    """Register a sysbatch job (one run on every client), wait for its end everywhere, and purge it."""
    platform = context.platform
    control = platform.of(Role.CONTROL)[0].name
    nomad = endpoints.nomad(platform, context.secrets)
    job = f"tercet-verify-{secrets.token_hex(4)}"
    task = {
        "Name": "true",
        "Driver": "raw_exec",
        "User": JOB_USER,
        "Config": {"command": "/bin/true"},
        "Resources": {"CPU": 10, "MemoryMB": 16},
        "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
    }
    definition = {
        "ID": job,
        "Name": job,
        "Type": "sysbatch",
        "Datacenters": [site.datacenter for site in platform.sites],
        "TaskGroups": [{"Name": "verify", "Tasks": [task], "EphemeralDisk": {"SizeMB": 10}}],
    }
    put = Http(nomad, "/v1/jobs", "PUT", json.dumps({"Job": definition}).encode(), timeout=10)
    answer = (await ask(fleet, {control: {"put": put}}, timeout=15)).get(control, "put")
    if not answer.ok:
        return Waiting(f"the job was refused: {answer.why()}")
    expected = {node.name for node in platform.of(Role.APPS)}

    def complete(readings: Readings) -> State:
        allocations = readings.get(control, "allocations").json() or []
        done = {a["NodeName"] for a in allocations if a["ClientStatus"] == "complete"}
        states = ", ".join(f"{a['NodeName']} {a['ClientStatus']}" for a in allocations) or "nothing is placed"
        return Passing(", ".join(sorted(done))) if expected <= done else Waiting(states)

    try:
        asked = {control: {"allocations": Http(nomad, f"/v1/job/{job}/allocations")}}
        [(_, state)] = await wait_for([Condition(job, complete)], asked, fleet, deadline=JOB_S)
        return state
    finally:
        purge = Http(nomad, f"/v1/job/{job}?purge=true", "DELETE", timeout=5)
        await ask(fleet, {control: {"purge": purge}}, timeout=10)


_AT_THE_PROXY = {"PASSFILE": PASSFILE, "PSQL": patroni.PSQL}
WRITE = text_of(__package__, "verify-write.sh", **_AT_THE_PROXY)
RUN = text_of(__package__, "verify-run.sh", **_AT_THE_PROXY)
SWEEP = text_of(__package__, "verify-sweep.sql")


async def _rows_travel(platform: Platform, proxy: Proxy, fleet: Fleet) -> State:
    settings, apps = platform.settings, platform.of(Role.APPS)
    schema = f"tercet_verify_{int(time.time())}_{secrets.token_hex(4)}"
    words = (str(settings.ports.of(ProxyPorts).proxy), settings.postgresql.user, settings.postgresql.database)

    def sql(text: str) -> Exec:
        return Exec(("sh", "-c", RUN, "sh", *words, text), timeout=10)

    first = apps[0].name
    make = sql(f"{SWEEP}CREATE SCHEMA {schema} CREATE TABLE proof (what text)")
    answer = (await ask(fleet, {first: {"make": make}}, timeout=15)).get(first, "make")
    if not answer.ok:
        return Waiting(f"{first} could not create a table: {answer.why()}")
    try:
        read_back = {node.name: {"rows": sql(f"SELECT count(*) FROM {schema}.proof")} for node in apps}

        def table_is_there(readings: Readings) -> State:
            late = [node.name for node in apps if not readings.get(node.name, "rows").ok]
            return Waiting(f"no table yet at {', '.join(late)}") if late else Passing()

        await wait_for([Condition("table", table_is_there)], read_back, fleet, deadline=10)
        writes = {
            node.name: {"write": Exec(("sh", "-c", WRITE, "sh", *words, schema, node.site), timeout=10)}
            for node in apps
        }
        look = {node.name: proxy.questions(node) for node in (*apps, *platform.of(Role.DB))}
        written = await ask(fleet, writes, timeout=15)
        readings = await ask(fleet, look, timeout=15)
        primary = patroni.primary_of(readings, [node.name for node in platform.of(Role.DB)])
        address = (await ask(fleet, {first: {"host": Exec(("getent", "hosts", primary))}}, timeout=10)).get(
            first, "host"
        )
        expected = address.text.split()[0] if address.ok else ""
        for node in apps:
            done = written.get(node.name, "write")
            answered_by = [line for line in done.text.split() if line not in ("t", "f")]
            if not done.ok:
                return Waiting(f"{node.name} could not write: {done.why()}")
            if answered_by != [expected, expected]:
                return Waiting(f"{node.name}: writes were answered by {answered_by}, the primary is {expected}")

        def all_rows(readings: Readings) -> State:
            counts = {node.name: readings.get(node.name, "rows").text.strip() for node in apps}
            late = [
                f"{name} sees {count or 'nothing'}" for name, count in counts.items() if count != str(2 * len(apps))
            ]
            return Waiting(", ".join(late)) if late else Passing(f"{2 * len(apps)} rows, written by {primary}")

        [(_, state)] = await wait_for([Condition("rows", all_rows)], read_back, fleet, deadline=10)
        return state
    finally:
        await ask(fleet, {first: {"drop": sql(f"DROP SCHEMA {schema} CASCADE")}}, timeout=15)
