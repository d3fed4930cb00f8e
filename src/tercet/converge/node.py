"""Talks to a node: the agent and one request are sent on standard input, and one answer comes back.

The agent (nodeside/agent) is sent each time, so a node needs only Python and always runs the operator's version.
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
DO_TIMEOUT_S = 180.0  # seconds: a stop, a start and the changes before them, each within the agent's own limit of 60 s

SYSTEMD_S = 10.0  # seconds for systemd to report the states of all units of a node
NOT_ACTIVE = 3  # the exit status of `systemctl is-active` for a unit that is not active
# Each module comes after those that it imports.
OBSERVE = ("endpoint", "api", "agent.requests", "agent.facts", "agent.stamps", "agent.main")
DO = (*OBSERVE, "agent.changes")


class Made(StrEnum):
    """The result of a change, as the agent reports it."""

    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change on its node, and the reason if it failed."""

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
    """Read everything from one node in one run: the state of `paths` and `units`, and the answers to the requests.

    `paths` maps a path to "content", "entries" or ""; `units` maps a unit to the paths that it watches. Requests end
    before `timeout` (seconds), so that a request that hangs costs only its own answer. Raises Unreachable.
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
    """Seconds of a poll for the agent's start and the way back: more if the caller waits longer, for example for a node
    without free CPU, but at most what `patience` adds to the time of a request.
    """
    return min(max(1.0, timeout / 10), 5.0)


async def do(
    fleet: Fleet, node: str, changes: Sequence[Mapping[str, Any]], watch: Mapping[str, Sequence[str]]
) -> list[Outcome]:
    """Carry out changes on one node. Returns an outcome for each, in order, up to the first one that failed.

    Consecutive units are started in parallel, so outcomes of other units may follow a failed one. If systemd's reload
    at the end of the script fails, there is one more outcome than there are changes.

    `watch` has all managed units of the node with the paths that they watch. Raises Unreachable.
    """
    asked = {"call": "do", "changes": changes, "watch": watch}
    said = await _call(fleet, node, asked, DO, DO_TIMEOUT_S)
    return [Outcome(Made(one["made"]), one["reason"]) for one in said["outcomes"]]


async def send(fleet: Fleet, node: str, data: bytes, target: str, sha256: str) -> str:
    """Send a program to a node: `target` then has `data` and is executable. Returns "", or what went wrong.

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
    """The source of a program with the agent's modules and a call of its `main`."""
    package = nodeside.__name__
    sources = {f"{package}.{name}": _source(name) for name in modules}
    return f"{_source('agent.loader')}\nload({sources!r})\nfrom {package}.agent.main import main\n"


def _source(module: str) -> str:
    return Path(nodeside.__path__[0], *module.split(".")).with_suffix(".py").read_text()


def _state(shown: Mapping[str, str] | None, silence: str) -> Answer:
    """The answer to whether a unit is active, from its properties in systemd."""
    if shown is None:
        return Answer(-1, error=silence)
    state = shown["ActiveState"]
    return Answer(0, state) if state == "active" else Answer(NOT_ACTIVE, state, shown["StatusText"])


def _wire(request: Exec | Http, limit: float) -> dict[str, Any]:
    """A request as it is sent. Deferred bytes must have been rendered before."""
    data = request.stdin if isinstance(request, Exec) else request.body
    if isinstance(data, Deferred):
        raise TypeError(f"the standard input of {request!r} is not known before its change is made")
    common = {"data": encoded(data), "timeout": min(request.timeout, limit)}
    if isinstance(request, Exec):
        return {"argv": request.argv, **common}
    return {"method": request.method, "endpoint": request.at._asdict(), "path": request.path, **common}


def encoded(data: bytes) -> str:
    """Bytes as they are sent."""
    return b64encode(data).decode()


def unique(requests: Iterable[Request]) -> list[Request]:
    """The different requests, each only once."""
    return list(dict.fromkeys(requests))
