"""Carries out one step of the plan on its node, in the plan's order, with as few runs of the agent as possible."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tercet.converge.compare import kept
from tercet.converge.deferred import Resolver
from tercet.converge.fleet import Fleet
from tercet.converge.gates import explain_units
from tercet.converge.node import Made, Outcome, do, encoded, observe_node, send
from tercet.converge.objects import Objects
from tercet.converge.plan import Change, Step
from tercet.converge.requests import Deferred
from tercet.converge.resources import Absent, Directory, File, Object, Program, Resource, Unit
from tercet.converge.target import Verb
from tercet.converge.watch import Watch, watches
from tercet.errors import TercetError

LOOK_S = 15.0

Tell = Callable[[Change, str], None]  # called with the change and the node where it was made


class Executor:
    """Changes nodes. `desired` has all resources of each node. `may_go_on` is called before anything new is started,
    and raises to prevent it. Nodes that are `away` are not asked.
    """

    def __init__(
        self,
        fleet: Fleet,
        desired: Mapping[str, Sequence[Resource]],
        may_go_on: Callable[[], None],
        away: frozenset[str] = frozenset(),
    ) -> None:
        self._fleet = fleet
        self._desired = desired
        self._may_go_on = may_go_on
        self._resolver = Resolver(fleet, may_go_on, away)
        self._objects = Objects(fleet, self._resolver, may_go_on, away)
        self._deliveries: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sending = asyncio.Semaphore(2)  # a program is a hundred megabytes, in memory while it is sent

    async def execute(self, step: Step, tell: Tell) -> None:
        """Make the changes of the step. `tell` is called for each that was really needed. Raises TercetError."""
        for batch in _batches(step.changes):
            self._may_go_on()
            try:
                at, outcomes = await self._outcomes(step.node, batch)
            except TercetError as error:
                raise TercetError(f"{step.component} on {step.node}: {error}") from None
            for change, outcome in zip(batch, outcomes, strict=False):
                if outcome.failed:
                    raise TercetError(await self._failure(step, change, outcome.reason))
                if outcome.made is Made.DONE:
                    tell(change, at)

    async def _outcomes(self, node: str, batch: Sequence[Change]) -> tuple[str, list[Outcome]]:
        """The node that was changed, and one outcome for each change of the batch up to the first one that failed."""
        wanted = batch[0].resource
        if not isinstance(wanted, Object):
            return node, await self._script(node, batch)
        try:
            at = await self._objects.bring_about(wanted, node)
        except TercetError as error:
            raise TercetError(f"{batch[0]}: {error}") from None
        return at, [Outcome(Made.DONE if at else Made.UNCHANGED)]

    async def _failure(self, step: Step, change: Change, reason: str) -> str:
        units = [(step.node, change.resource.name)] if isinstance(change.resource, Unit) else []
        explained = await explain_units(units, self._fleet) if units else "try again: tercet apply"
        return f"{step.component} on {step.node}: {change} failed: {reason}\n{explained}"

    async def _script(self, node: str, changes: Sequence[Change]) -> list[Outcome]:
        """One run of the agent, and a second one if programs must be sent to the node first."""
        watch = watches(self._desired[node])
        wire = []
        for change in changes:
            try:
                wire.append(await self._wire(node, change, watch))
            except TercetError as error:
                raise TercetError(f"{change}: {error}") from None
        paths = {unit: watched.paths for unit, watched in watch.items()}
        outcomes = await do(self._fleet, node, wire, paths)
        if outcomes[-1].failed and isinstance(changes[: len(outcomes)][-1].resource, Program):
            done = len(outcomes) - 1
            await self._deliver(node, [c.resource for c in changes[done:] if isinstance(c.resource, Program)])
            outcomes = [*outcomes[:done], *await do(self._fleet, node, wire[done:], paths)]
        if len(outcomes) > len(changes):  # systemd's reload after the last change failed
            outcomes = [*outcomes[: len(changes) - 1], outcomes[-1]]
        return outcomes

    async def _wire(self, node: str, change: Change, watch: Mapping[str, Watch]) -> dict[str, Any]:
        """A change in the form that the agent expects (nodeside/agent/changes.py)."""
        match change.resource:
            case File(path=path, content=content) as file:
                if isinstance(content, Deferred):
                    content = await self._resolver.render(content, shared=True)
                return {"do": "file", "path": path, "content": encoded(content), **_ownership(file)}
            case Directory(path=path, purge=purge) as directory:
                keep = sorted(kept(directory, self._desired[node])) if purge else None
                return {"do": "directory", "path": path, "keep": keep, **_ownership(directory)}
            case Absent(path=path):
                return {"do": "remove", "path": path}
            case Program() as program:
                return {"do": "link", "path": program.link, "target": program.binary}
            case Unit(name=name) if change.verb in (Verb.START, Verb.RESTART, Verb.RELOAD):
                gently = change.verb is Verb.RELOAD
                return {"do": "run", "name": name, "reload": watch[name].reload, "gently": gently}
            case Unit(name=name) if change.verb in (Verb.STOP, Verb.ENABLE, Verb.DISABLE):
                return {"do": change.verb.value, "unit": name}
        raise TypeError(f"a node cannot {change}")

    async def _deliver(self, node: str, programs: Sequence[Program]) -> None:
        """Send the files of those programs that the node does not have. They are in the image, unless the image is
        older.
        """
        for program in programs:
            async with self._deliveries[node, program.binary]:
                said, _ = await observe_node(self._fleet, node, paths={program.binary: ""}, timeout=LOOK_S)
                if not said["paths"][program.binary]:
                    await self._bring(node, program)

    async def _bring(self, node: str, program: Program) -> None:
        async with self._sending:
            try:
                data = await asyncio.to_thread(program.source.read_bytes)
            except OSError as error:
                raise TercetError(
                    f"{program.target}: {program.source}: {error.strerror}; build the image again"
                ) from None
            problem = await send(self._fleet, node, data, program.binary, program.sha256)
        if problem:
            raise TercetError(
                f"{program.target}: {program.source} was sent with sha256 {program.sha256}, but arrived so: {problem}"
            )


def _batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Batches of changes that are sent to the node together. An object is asked and judged here, so it is alone in its
    batch. Deferred content must be waited for, so it begins a new batch.
    """
    batch: list[Change] = []
    for change in changes:
        alone = isinstance(change.resource, Object)
        deferred = isinstance(change.resource, File) and isinstance(change.resource.content, Deferred)
        if batch and (alone or deferred or isinstance(batch[0].resource, Object)):
            yield batch
            batch = []
        batch.append(change)
    if batch:
        yield batch


def _ownership(resource: File | Directory) -> dict[str, Any]:
    return {"mode": resource.mode, "owner": resource.owner, "group": resource.group}
