"""How the engine talks with a node: the agent and one request go in on standard input, one answer comes back.

The agent (nodeside/agent) is sent along each time, so a node needs nothing but Python and always runs the
version that the operator has.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from tercet import nodeside
from tercet.converge.fleet import Fleet, Unreachable
from tercet.converge.requests import Active, Answer, Deferred, Exec, Http, Request

ARGV = ("python3", "-I", "-S", "-")
DO_TIMEOUT_S = 180.0  # a stop, a start and what comes before them, each within the agent's own limit of 60 s

SYSTEMD_S = 10.0  # for systemd to tell the states of all units of a node
NOT_ACTIVE = 3  # the status that `systemctl is-active` has for it
# Each after those that it imports.
OBSERVE = ("endpoint", "api", "agent.requests", "agent.facts", "agent.stamps", "agent.main")
DO = (*OBSERVE, "agent.changes")


class Made(StrEnum):
    """What became of a change, as the agent says it."""

    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change on its node, and why where it failed."""

    made: Made
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.made is Made.FAILED


async def observe_node(
    fleet: Fleet,
    node: str,
    requests: Sequence[Request] = (),
    *,
    paths: Mapping[str, str] | None = None,
    units: Mapping[str, Sequence[str]] | None = None,
    timeout: float,
) -> tuple[dict[str, Any], list[Answer]]:
    """Read everything of one node in one run: what its agent says of `paths` and `units`, and the answers.

    `paths` maps a path to "content", "entries" or ""; `units` maps a unit to the paths it watches. Requests
    end before `timeout` (seconds), so that one that hangs costs its own answer only. Raises Unreachable.
    """
    limit = max(timeout - margin(timeout), timeout / 2)
    active = [request for request in requests if isinstance(request, Active)]
    sent = [request for request in requests if not isinstance(request, Active)]
    asked = {
        "call": "observe",
        "paths": paths or {},
        "units": units or {},
        "active": [request.unit for request in active],
        "patience": min([limit, *(request.timeout for request in active)] if active else [limit, SYSTEMD_S]),
        "requests": [_wire(request, limit) for request in sent],
    }
    said = await _call(fleet, node, asked, OBSERVE, timeout)
    answers: dict[Request, Answer] = {
        request: Answer(**answer) for request, answer in zip(sent, said["answers"], strict=True)
    }
    answers |= {request: _state(said["active"].get(request.unit), said["silence"]) for request in active}
    return said, [answers[request] for request in requests]


def margin(timeout: float) -> float:
    """Seconds of a look for the agent's start and for the way back: more where the caller has more patience, as with a
    starved node, but no more than `patience` adds to what a request may take."""
    return min(max(1.0, timeout / 10), 5.0)


async def do(
    fleet: Fleet, node: str, changes: Sequence[Mapping[str, Any]], watch: Mapping[str, Sequence[str]]
) -> list[Outcome]:
    """Carry out changes on one node: an outcome for each, in order, up to the first that failed.

    Units that follow one another are started side by side, so one that failed may be followed by theirs; and a failure
    of what ends the script, systemd's reload, is one outcome more than there are changes.

    `watch` names all managed units of the node with the paths they watch. Raises Unreachable.
    """
    asked = {"call": "do", "changes": changes, "watch": watch}
    said = await _call(fleet, node, asked, DO, DO_TIMEOUT_S)
    return [Outcome(Made(one["made"]), one["reason"]) for one in said["outcomes"]]


async def send(fleet: Fleet, node: str, data: bytes, target: str, sha256: str) -> str:
    """Bring a program to a node: `target` then holds `data`, executable. Returns what went wrong, or "".

    Raises Unreachable.
    """
    argv = ("python3", "-I", "-S", "-c", _source("agent.receive"), target, sha256)
    done = await fleet.run(node, argv, stdin=data, timeout=60 + len(data) / 1e6)  # at least 1 MB/s
    return "" if done.status == 0 else done.stderr.decode(errors="replace").strip() or f"status {done.status}"


async def _call(
    fleet: Fleet, node: str, request: Mapping[str, Any], modules: tuple[str, ...], timeout: float
) -> dict[str, Any]:
    program = f"{_agent(modules)}main({request!r})\n"
    done = await fleet.run(node, ARGV, stdin=program.encode(), timeout=timeout)
    try:
        if done.status != 0:
            raise ValueError(f"status {done.status}")
        return dict(json.loads(done.stdout))
    except ValueError as error:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unreachable(
            f"{node} ran `python3`, but gave no answer ({error}): {(lines or ['no message'])[-1]}"
        ) from None


@cache
def _agent(modules: tuple[str, ...]) -> str:
    """A program that has the agent's modules, and its `main`."""
    package = nodeside.__name__
    sources = {f"{package}.{name}": _source(name) for name in modules}
    return f"{_source('agent.loader')}\nload({sources!r})\nfrom {package}.agent.main import main\n"


def _source(module: str) -> str:
    return Path(nodeside.__path__[0], *module.split(".")).with_suffix(".py").read_text()


def _state(shown: Mapping[str, str] | None, silence: str) -> Answer:
    """Whether a unit is active, from what systemd shows of it."""
    if shown is None:
        return Answer(-1, error=silence)
    state = shown["ActiveState"]
    return Answer(0, state) if state == "active" else Answer(NOT_ACTIVE, state, shown["StatusText"])


def _wire(request: Exec | Http, limit: float) -> dict[str, Any]:
    """A request as it travels. Deferred bytes must have been rendered before."""
    data = request.stdin if isinstance(request, Exec) else request.body
    if isinstance(data, Deferred):
        raise TypeError(f"the standard input of {request!r} is not known before its change is made")
    common = {"data": encoded(data), "timeout": min(request.timeout, limit)}
    if isinstance(request, Exec):
        return {"argv": request.argv, **common}
    return {"method": request.method, "endpoint": request.at._asdict(), "path": request.path, **common}


def encoded(data: bytes) -> str:
    """Bytes as they travel."""
    return b64encode(data).decode()


def unique(requests: Iterable[Request]) -> list[Request]:
    """Each different request once: what many want to know is asked once."""
    return list(dict.fromkeys(requests))
