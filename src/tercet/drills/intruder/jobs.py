"""Somebody who may run jobs of Nomad tries to leave the job: as root, as a user of the system, and as a plain job."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

from tercet.components import endpoints
from tercet.components.consul.declaration import ConsulPorts
from tercet.components.dcs.declaration import DcsPorts
from tercet.components.nomad.component import DATA
from tercet.components.nomad.declaration import JOB_USER, NomadPorts
from tercet.converge.observe import ask
from tercet.converge.requests import Answer, Exec, Http
from tercet.datafile import text_of
from tercet.drills.intruder.attempt import ASK_S, Attempt
from tercet.errors import TercetError
from tercet.inventory.platform import Role
from tercet.session.session import Session

# Each attempt has a job of its own: to Nomad, one with the name of a job that ended on the node is an update of that
# (reconcile_node.go, Nomad 1.11), and it may not run.
JOB = "tercet-intruder"
TASK = "try"
ENDS_S = 60.0
REFUSED = "is disallowed"  # in Nomad's message if raw_exec refuses a user
ESCAPE = text_of(__package__, "escape.sh")
STARTED = "started"


async def attempts(session: Session) -> list[Attempt]:
    """Raises TercetError if Nomad runs no job at all: then a refusal would prove nothing."""
    return [await _attempt(session, user) for user in ("", "root", "postgres", JOB_USER)]


async def _attempt(session: Session, user: str) -> Attempt:
    position = f"a job as {user}" if user else "a job without a user"
    job = f"{JOB}-{uuid4()}"
    try:
        return await _judged(session, user, position, await _run(session, job, user))
    finally:
        await _nomad(session, "DELETE", f"job/{job}?purge=true")


async def _judged(session: Session, user: str, position: str, allocation: dict[str, Any]) -> Attempt:
    if user != JOB_USER:
        events = allocation["TaskStates"][TASK]["Events"]
        refused = any(REFUSED in event["DisplayMessage"] for event in events)
        return Attempt(position, "runs on an apps node", "" if refused else "it ran")
    apps = session.platform.at(session.platform.sites[0].name, Role.APPS).name
    output = f"{DATA}/alloc/{allocation['ID']}/alloc/logs/{TASK}.stdout.0"
    answer = (await ask(session.provider, {apps: {"it": Exec(("cat", output))}}, timeout=ASK_S)).get(apps, "it")
    lines = answer.text.splitlines()
    if STARTED not in lines:
        raise TercetError(f"expected the job {JOB} to run as {JOB_USER}, found: {answer.why()}")
    reached = ", ".join(line for line in lines if line != STARTED)
    return Attempt(position, "reaches APIs, password files and processes of root", reached)


async def _run(session: Session, name: str, user: str) -> dict[str, Any]:
    """Run the job and wait for its end: its allocation."""
    ports = session.platform.settings.ports
    doors = (ports.of(NomadPorts).nomad_http, ports.of(ConsulPorts).consul_http, ports.of(DcsPorts).dcs_http)
    arguments = ["-c", ESCAPE, "sh", *map(str, doors)]
    task = {"Name": TASK, "Driver": "raw_exec", "User": user, "Config": {"command": "/bin/sh", "args": arguments}}
    task |= {"Resources": {"CPU": 10, "MemoryMB": 16}, "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1}}
    group = {"Name": TASK, "Tasks": [task], "EphemeralDisk": {"SizeMB": 10}}
    group |= {"RestartPolicy": {"Attempts": 0, "Mode": "fail"}}
    datacenter = session.platform.sites[0].datacenter
    job = {"ID": name, "Name": name, "Type": "sysbatch", "Datacenters": [datacenter], "TaskGroups": [group]}
    begun = await _nomad(session, "PUT", "jobs", json.dumps({"Job": job}).encode())
    if not begun.ok:
        raise TercetError(f"expected Nomad to take the job {name}, found: {begun.why()}")
    ends = time.monotonic() + ENDS_S
    while time.monotonic() < ends:
        found = (await _nomad(session, "GET", f"job/{name}/allocations")).json() or []
        if found and found[0]["ClientStatus"] in ("complete", "failed"):
            return dict(found[0])
        await asyncio.sleep(0.5)
    raise TercetError(f"expected the job {name} to end within {ENDS_S:g} s, found that it did not: run `tercet status`")


async def _nomad(session: Session, method: str, path: str, body: bytes = b"") -> Answer:
    control = session.platform.at(session.platform.sites[0].name, Role.CONTROL).name
    request = Http(endpoints.nomad(session.platform, session.context.secrets), f"/v1/{path}", method, body, 10)
    return (await ask(session.provider, {control: {"it": request}}, timeout=ASK_S)).get(control, "it")
