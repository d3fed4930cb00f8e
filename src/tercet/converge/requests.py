"""Requests to a node: run a program there, call an HTTP API on its loopback, or read the state of a unit.

A request is a value, its answer is a value, and the meaning of an answer is a pure function. So a fact about a node can
be tested with a fixture, and all requests of a phase are sent in one batch (see converge/fleet.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tercet.nodeside.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Deferred:
    """Bytes that are known only when the platform runs, such as an address or a join key.

    `needs` maps a node to the one request whose answer is needed. `render` turns the answers into the bytes; it raises
    LookupError, with a sentence, if an answer does not have what it needs. A node that cannot be reached has no answer.
    `why` completes the plan's line "content is known once …".
    """

    why: str
    needs: Mapping[str, Request]
    render: Callable[[Mapping[str, Answer]], bytes]


@dataclass(frozen=True, slots=True)
class Exec:
    """Run `argv` on the node, `stdin` on its standard input, killed after `timeout` seconds.

    Secrets go into `stdin`, never into `argv`.
    """

    argv: tuple[str, ...]
    stdin: bytes | Deferred = field(default=b"", repr=False)
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Http:
    """An HTTP request that the node sends itself and gives up after `timeout` seconds. `path` begins with a slash and
    may have a query.
    """

    at: Endpoint
    path: str
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Active:
    """Asks whether this systemd unit is active. The answer's text is its state, and the answer is ok if that is
    "active". Otherwise `error` is the status that the unit's program reported (sd_notify's STATUS), if it reported one.

    All units of a node that are asked for in one batch are one question to systemd (see nodeside/agent/main.py).
    """

    unit: str
    timeout: float = 5.0


Request = Exec | Http | Active


def patience(requests: Iterable[Request]) -> float:
    """Seconds after which a working node has answered all of these requests, with a result or an error."""
    return max((request.timeout for request in requests), default=0.0) + 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request. `status` is the exit code or the HTTP status; -1 if there was none (`error` says
    why).
    """

    status: int
    text: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program exited with 0, or the API answered 2xx."""
        return self.status == 0 or 200 <= self.status < 300

    def json(self) -> Any:
        """The parsed body; None if the request failed or the body is not JSON."""
        if not self.ok:
            return None
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def why(self) -> str:
        """One line that says what went wrong, for a condition or an error message."""
        detail = (self.error or self.text).strip().splitlines()
        last = detail[-1] if detail else "no output"
        if self.status == -1:
            return last
        return f"status {self.status}: {last}"


NO_ANSWER = Answer(-1, error="the node did not answer")
