"""Ends a program that answers nobody, so that systemd starts a new one: `tercet-proxywatch.service` on apps nodes,
`tercet-dcswatch.service` on every node.

To systemd a program runs for as long as its process exists. But one that hangs or was stopped answers nobody, and
nothing says so:

- pgpool-II that is sent SIGTERM, by anyone, takes no new client and waits for its last one to leave, which may be
  never. New connections hang (seen: 73 s, until the load ended).
- A `dcs` agent that hangs on the primary's node takes the leader key with it, and the proxies lose the primary, while
  PostgreSQL runs on and nobody leads in its place (seen: 14.8 s without writes, as long as the agent hung).

Each look connects, sends `hello` and waits for the first byte. A refused or closed connection is an answer: systemd
starts what is not there, and a program that is full says so. After `looks` in a row without an answer the unit is
killed. A program that answers late because the machine is busy is not silent, and a look during which this program
itself was paused counts for nothing.

Argument: a JSON file {"unit": …, "port": on localhost, "hello": bytes in hexadecimal digits, "looks": …, "pause_s":
between two looks, "whom": "main" or "all" of the unit's processes}.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

from tercet.nodeside.host import ProgramError, notify, run

PATIENCE_S = 1.0  # of one look
PAUSED_S = 1.0  # a look that took this much longer than it may was paused itself


def answers(port: int, hello: bytes) -> bool | None:
    """Whether somebody answers; None if the look took so long that nobody can tell."""
    started = time.monotonic()
    try:
        with socket.create_connection(("localhost", port), PATIENCE_S) as connection:
            connection.sendall(hello)
            connection.recv(1)
    except TimeoutError:
        return False if time.monotonic() - started < 2 * PATIENCE_S + PAUSED_S else None
    except OSError:
        return True
    return True


def main(config: dict[str, Any]) -> None:
    unit, hello = config["unit"], bytes.fromhex(config["hello"])
    silent = 0
    while True:
        said = answers(config["port"], hello)
        notify("READY=1\nWATCHDOG=1")
        silent = silent + 1 if said is False else 0
        if silent == config["looks"]:
            print(f"{unit} answers nobody: killed", flush=True)
            try:
                run(["systemctl", "kill", f"--kill-whom={config['whom']}", "--signal=KILL", unit])
            except ProgramError as error:
                print(error, flush=True)
            silent = 0
        time.sleep(config["pause_s"])


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
