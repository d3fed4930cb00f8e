"""Removes what a drill puts on the platform besides its faults: a table and a Nomad job.

Invariant: only drills use these names, and no other drill runs while the platform's lock is held. So anything with such
a name at the beginning of a drill was left by a tool that was killed, and the same code removes it at both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from tercet.converge.fleet import Unreachable
from tercet.converge.observe import ask
from tercet.converge.requests import Request
from tercet.datafile import text_of
from tercet.drills.run import live
from tercet.inventory.platform import Role
from tercet.session.session import Session, SqlError

TABLE = "tercet_drill_"  # followed by the Unix second at which the drill began
JOB = "tercet-drill-"  # see live.job_name

_DROP = text_of(__package__, "leftovers.sql", TABLE=TABLE)


async def sweep(session: Session) -> None:
    """Drop the tables and purge the jobs of all drills. The next drill removes what cannot be removed now."""
    await asyncio.gather(*(_drop_tables(session, node) for node in session.platform.databases), _purge_jobs(session))


async def _drop_tables(session: Session, node: str) -> None:
    with contextlib.suppress(SqlError, Unreachable):
        await session.sql(node, _DROP)


async def _purge_jobs(session: Session) -> None:
    """Ask the first control node whose Nomad answers. Its server forwards to the leader."""
    scene = live.Scene(session.platform, frozenset(), "", session.context.secrets)
    listed = scene.nomad(f"jobs?prefix={JOB}")
    controls = [node.name for node in session.platform.of(Role.CONTROL)]
    questions: dict[str, dict[str, Request]] = {control: {"jobs": listed} for control in controls}
    readings = await ask(session.provider, questions, timeout=10)
    for control in controls:
        jobs = readings.get(control, "jobs").json()
        if jobs is None:
            continue
        purge: dict[str, Request] = {job["ID"]: live.purge_job(replace(scene, job=job["ID"])) for job in jobs}
        if purge:
            await ask(session.provider, {control: purge}, timeout=15)
        return
