"""The way in: one request as JSON, one answer as JSON on standard output.

    {"call": "look", "paths": {path: what of it}, "units": {unit: [watched path]}, "requests": [request]}
    {"call": "do", "changes": [change], "watch": {unit: [watched path]}}

`look` reads everything in one go and changes nothing; `do` carries out changes (see changes.do).
"""

from __future__ import annotations

import json
import os
import signal

from tercet.nodeside.agent import stamps
from tercet.nodeside.agent.facts import fact, show
from tercet.nodeside.agent.requests import ask, running

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from typing import Any


def look(paths: dict[str, str], units: dict[str, list[str]], requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was asked for."""
    answers = ask(requests)
    states = show(units)
    return {
        "paths": {path: fact(path, want) for path, want in paths.items()},
        "units": {unit: {**states[unit], "stale": stamps.stale(unit, watched)} for unit, watched in units.items()},
        "answers": answers(),
    }


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    call = request.pop("call")
    if call == "look":
        return look(**request)
    from tercet.nodeside.agent.changes import do  # noqa: PLC0415 - sent only when there is something to do

    return {"outcomes": do(**request)}


def end(number: int, _frame: object) -> None:
    """When this program is told to end, so are the programs that it runs."""
    for group in running.copy():
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os._exit(128 + number)


def main(request: str) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    os.environ.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    os.environ["LC_ALL"] = "C.UTF-8"  # messages of programs in one language
    print(json.dumps(handle(json.loads(request))), flush=True)
