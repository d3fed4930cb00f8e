"""The way in: one request, one answer as JSON on standard output.

    {"call": "look", "paths": {path: what of it}, "units": {unit: [watched path]}, "requests": [request]}
    {"call": "do", "changes": [change], "watch": {unit: [watched path]}}

`look` reads everything in one go and changes nothing; `do` carries out changes (see changes.do).
"""

from __future__ import annotations

import _json
import _signal  # type: ignore[import-not-found]  # no stub; `signal` is slow to import
import posix

from tercet.nodeside.agent.requests import ask, running

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from typing import Any


def look(paths: dict[str, str], units: dict[str, list[str]], requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was asked for."""
    answers = ask(requests)
    return {**facts(paths, units), "answers": answers()}


def facts(paths: dict[str, str], units: dict[str, list[str]]) -> dict[str, Any]:
    """What is at the paths, and how the units are."""
    if not paths and not units:
        return {"paths": {}, "units": {}}
    from tercet.nodeside.agent import stamps  # noqa: PLC0415 - sent only when something is asked of it
    from tercet.nodeside.agent.facts import fact, show  # noqa: PLC0415

    states = show(units)
    return {
        "paths": {path: fact(path, want) for path, want in paths.items()},
        "units": {unit: {**states[unit], "stale": stamps.stale(unit, watched)} for unit, watched in units.items()},
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
            posix.killpg(group, _signal.SIGKILL)
        except ProcessLookupError:
            continue
    posix._exit(128 + number)


def dumps(value: object) -> str:
    """JSON. The module of that name takes longer to import than all answers to write."""
    match value:
        case str():
            return _json.encode_basestring_ascii(value)
        case dict():
            return "{" + ", ".join(f"{dumps(key)}: {dumps(value[key])}" for key in value) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(dumps, value)) + "]"
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int() | float():
            return repr(value)
    raise TypeError(f"{value!r} has no place in an answer")


def setenv(name: bytes, value: bytes) -> None:
    """For the programs that are run, and for who looks for them."""
    posix.environ[name] = value
    posix.putenv(name, value)


def main(request: dict[str, Any]) -> None:
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, end)
    if b"PATH" not in posix.environ:
        setenv(b"PATH", b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    setenv(b"LC_ALL", b"C.UTF-8")  # messages of programs in one language
    print(dumps(handle(request)), flush=True)
