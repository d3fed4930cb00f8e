"""The entry point of the agent: one request, one answer as JSON on standard output.

{"call": "observe", "paths": {path: what to read}, "units": {unit: [watched path]}, "active": [unit], "patience":
     seconds for systemd, "requests": [request]} {"call": "do", "changes": [change], "watch": {unit: [watched path]}}

`observe` reads everything in one go and changes nothing; `do` carries out changes (see changes.do).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import Any

from tercet.nodeside.agent import stamps
from tercet.nodeside.agent.facts import NodeError, fact, show
from tercet.nodeside.agent.requests import ask, running, starting


def observe(
    paths: dict[str, str],
    units: dict[str, list[str]],
    active: list[str],
    patience: float,
    requests: list[dict[str, Any]],
) -> dict[str, Any]:
    """The answer to `observe`. systemd is asked in one call, in parallel with the requests.

    `active` are units of which only the state is wanted. If systemd does not give it within `patience` seconds,
    `silence` is the reason. The state of `units` must be known.
    """
    answers = ask(requests)
    silence, states = "", {}
    try:
        states = show([*units, *active], patience)
    except NodeError as error:
        if units:
            raise
        silence = str(error)
    return {
        "paths": {path: fact(path, want) for path, want in paths.items()},
        "units": {unit: {**states[unit], "stale": stamps.stale(unit, watched)} for unit, watched in units.items()},
        "active": {unit: states[unit] for unit in active if unit in states},
        "silence": silence,
        "answers": answers(),
    }


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    call = request.pop("call")
    if call == "observe":
        return observe(**request)
    from tercet.nodeside.agent.changes import do  # noqa: PLC0415 - sent only when there is something to do

    return {"outcomes": do(**request)}


def end(number: int, _frame: object) -> None:
    """On a signal that ends this program, end the programs that it runs, too."""
    with starting:
        for group in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    os._exit(128 + number)


def main(request: dict[str, Any]) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    os.environ.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    os.environ["LC_ALL"] = "C.UTF-8"  # messages of programs are always in English
    print(json.dumps(handle(request)), flush=True)
