"""The promises that only the running platform can answer, as conditions over readings. No I/O.

The nodes that the fault spares are asked about each promise, from the fault on until it holds or healing begins.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tercet.components import endpoints
from tercet.components.nomad.declaration import JOB_USER
from tercet.converge.component import Condition, Passing, Readings, State, Waiting
from tercet.converge.requests import Http, Request
from tercet.drills.expect import BudgetName
from tercet.drills.promise import Promises
from tercet.inventory.platform import Node, Platform, Role
from tercet.inventory.secrets import Secrets

Questions = Mapping[str, Mapping[str, Request]]


@dataclass(frozen=True, slots=True)
class Scene:
    """The platform with the nodes that a drill's faults hit, and the drill's Nomad job. `secrets` have its token."""

    platform: Platform
    victims: frozenset[str]
    job: str
    secrets: Secrets | None = None

    @property
    def controls(self) -> list[Node]:
        """Control nodes that the faults spare."""
        return [node for node in self.platform.of(Role.CONTROL) if node.name not in self.victims]

    @property
    def down(self) -> frozenset[str]:
        """Sites whose control node is hit."""
        return frozenset(n.site for n in self.platform.of(Role.CONTROL) if n.name in self.victims)

    def nomad(self, path: str, method: str = "GET", body: bytes = b"", timeout: float = 2.0) -> Http:
        return Http(endpoints.nomad(self.platform, self.secrets), f"/v1/{path}", method, body, timeout)


Look = tuple[Callable[[Readings], State], Questions]
"""The function that judges the promise, and the questions for it."""


@dataclass(frozen=True, slots=True)
class ObservedPromise:
    """A promise about which the running platform is asked.

    It must hold within `budget`, the name of one of the inventory's budgets, or at the latest when the first fault is
    healed. With `job`, a Nomad job of the drill runs at a site that the faults hit (`Scene.job`), if they hit one.
    """

    look: Callable[[Scene], Look]
    budget: BudgetName | None = None
    job: bool = False


OBSERVED: Promises[ObservedPromise] = Promises("tercet.drills.run.promises")


def observed(
    name: str, *, budget: BudgetName | None = None, job: bool = False
) -> Callable[[Callable[[Scene], Look]], Callable[[Scene], Look]]:
    """Register the decorated function, which judges whether the promise of that name holds."""

    def register(look: Callable[[Scene], Look]) -> Callable[[Scene], Look]:
        OBSERVED.add(name, ObservedPromise(look, budget, job))
        return look

    return register


HOLDS_LOOKS = 6
"""Number of looks in a row, half a second apart, at which a promise must hold."""


def lasting(check: Callable[[Readings], State]) -> Callable[[Readings], State]:
    """Holds when `check` has held at HOLDS_LOOKS looks in a row, because everything may still seem well after a
    fault.
    """
    held = 0

    def look(readings: Readings) -> State:
        nonlocal held
        state = check(readings)
        held = held + 1 if isinstance(state, Passing) else 0
        if isinstance(state, Passing) and held < HOLDS_LOOKS:
            return Waiting(f"{state.detail}, at {held} of {HOLDS_LOOKS} looks in a row")
        return state

    return look


def ask(scene: Scene, question: str, request: Http) -> dict[str, dict[str, Request]]:
    return {node.name: {question: request} for node in scene.controls}


def running_on(readings: Readings, control: str) -> list[str]:
    """The clients on which the drill's job runs, according to the server on that control node."""
    allocations = readings.get(control, "allocations").json() or []
    return [a["NodeName"] for a in allocations if a["ClientStatus"] == "running" and a["DesiredStatus"] == "run"]


def job_name() -> str:
    """The unique name of a drill's job."""
    return f"tercet-drill-{secrets.token_hex(4)}"


def put_job(scene: Scene, site: str) -> Http:
    """Registers a job that begins at `site` and may run anywhere."""
    datacenter = scene.platform.site(site).datacenter
    task = {
        "Name": "sleep",
        "Driver": "raw_exec",
        "User": JOB_USER,
        "Config": {"command": "/bin/sleep", "args": ["3600"]},
        "Resources": {"CPU": 10, "MemoryMB": 16},
        "LogConfig": {"MaxFiles": 1, "MaxFileSizeMB": 1},
    }
    affinity = {"LTarget": "${node.datacenter}", "RTarget": datacenter, "Operand": "=", "Weight": 100}
    definition = {
        "ID": scene.job,
        "Name": scene.job,
        "Type": "service",
        "Datacenters": [one.datacenter for one in scene.platform.sites],
        "Affinities": [affinity],
        "TaskGroups": [{"Name": "drill", "Count": 1, "Tasks": [task], "EphemeralDisk": {"SizeMB": 10}}],
    }
    return scene.nomad("jobs", "PUT", json.dumps({"Job": definition}).encode(), timeout=10)


def purge_job(scene: Scene) -> Http:
    """Removes the job and everything that Nomad stores about it."""
    return scene.nomad(f"job/{scene.job}?purge=true", "DELETE", timeout=5)


def job_runs_at(scene: Scene, site: str) -> tuple[Condition, Questions]:
    """Holds when the job's allocation runs at `site` according to every control node."""
    expected = scene.platform.at(site, Role.APPS).name
    asked: dict[str, dict[str, Request]] = {
        node.name: {"allocations": scene.nomad(f"job/{scene.job}/allocations")}
        for node in scene.platform.of(Role.CONTROL)
    }

    def check(readings: Readings) -> State:
        running = {name for node in scene.platform.of(Role.CONTROL) for name in running_on(readings, node.name)}
        return Passing() if expected in running else Waiting(f"it runs on {', '.join(sorted(running)) or 'no client'}")

    return Condition(f"nomad: the drill's job runs on {expected}", check), asked
