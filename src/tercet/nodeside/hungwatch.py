"""Ends a program that does not answer, so that systemd starts a new one: `tercet-proxywatch.service` on apps nodes,
`tercet-dcswatch.service` on every node.

For systemd, a program runs while its process exists. But a program that hangs or was stopped does not answer, and no
error is reported:

- After a SIGTERM, pgpool-II accepts no new client and waits for its last one to leave, which may never happen. New
  connections hang (seen: 73 s, until the load ended).
- If a `dcs` agent hangs on the primary's node, the leader key is lost and the proxies lose the primary, while
  PostgreSQL runs on and no other node leads (seen: 14.8 s without writes, as long as the agent hung).

Each look connects, sends `hello` and waits for the first byte, or asks an API. A refused or closed connection counts as
an answer: systemd starts a program that is down, and a full program refuses connections. After `looks` in a row without
an answer, the unit is killed. A program that answers late because the machine is busy is not silent, and a look during
which this program itself was paused is not counted.

Argument: a JSON file {"unit": …, "looks": …, "pause_s": seconds between two looks, "whom": "main" or "all" of the
unit's processes} and what to ask: {"port": on localhost, "hello": bytes in hexadecimal digits} or {"api": an Endpoint}.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tercet.nodeside.api import Api, ApiError, SilentError
from tercet.nodeside.endpoint import Endpoint
from tercet.nodeside.host import ProgramError, notify, run

PATIENCE_S = 1.0  # seconds for one look
PAUSED_S = 1.0  # if a look takes this much longer than it may, this program was paused


Look = Callable[[], None]
"""Raises TimeoutError if the program does not answer."""


def saying(port: int, hello: bytes) -> Look:
    """A look that waits for the first byte after `hello`."""

    def look() -> None:
        try:
            with socket.create_connection(("localhost", port), PATIENCE_S) as connection:
                connection.sendall(hello)
                connection.recv(1)
        except TimeoutError:
            raise
        except OSError:
            return

    return look


def asking(api: Api) -> Look:
    """A look that asks an API."""

    def look() -> None:
        try:
            api.ask("GET", "/", timeout=PATIENCE_S)
        except SilentError as error:
            raise TimeoutError from error
        except ApiError:
            return

    return look


def answers(look: Look) -> bool | None:
    """Whether the program answers; None if the look took so long that the result is unknown."""
    started = time.monotonic()
    try:
        look()
    except TimeoutError:
        return False if time.monotonic() - started < 2 * PATIENCE_S + PAUSED_S else None
    return True


def look_of(config: dict[str, Any]) -> Look:
    """The look that the configuration asks for."""
    if "api" in config:
        return asking(Api(Endpoint(**config["api"]), keep=True))
    return saying(config["port"], bytes.fromhex(config["hello"]))


def main(config: dict[str, Any]) -> None:
    unit, look = config["unit"], look_of(config)
    silent = 0
    while True:
        said = answers(look)
        notify("READY=1\nWATCHDOG=1")
        silent = silent + 1 if said is False else 0
        if silent == config["looks"]:
            print(f"{unit} does not answer: killed", flush=True)
            try:
                run(["systemctl", "kill", f"--kill-whom={config['whom']}", "--signal=KILL", unit])
            except ProgramError as error:
                print(error, flush=True)
            silent = 0
        time.sleep(config["pause_s"])


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
