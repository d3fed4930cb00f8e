"""Ends a proxy that answers nobody (`tercet-proxywatch.service`, apps nodes), so that systemd starts a new one.

To systemd a proxy runs for as long as its process does. But pgpool-II that is sent SIGTERM, by whomever, takes no new
client and waits for its last one to leave, which may be never: new connections hang, and nothing says so (seen: 73 s,
until the load ended). The same is true of a proxy that hangs or was stopped.

Once a second the proxy is asked whether it speaks TLS, which every server of PostgreSQL's protocol answers at once,
before anyone logs in. A refused or closed connection is an answer: what is not there is systemd's affair, and one that
is full says so. After SILENT_LOOKS without an answer the unit's processes are killed; its sessions end with them. A
proxy that answers late because the machine is busy is not silent, and a look during which this program itself was
paused counts for nothing.

Argument: a JSON file {"port": …, "unit": "pgpool2.service"}.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

from tercet.nodeside.host import ProgramError, notify, run

LOOK_S = 1.0  # between two looks
PATIENCE_S = 1.0  # of one look
SILENT_LOOKS = 5  # in a row: 5 to 10 s
PAUSE_S = 1.0  # a look that took this much longer than it may has paused itself
SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL's protocol 3.0, SSLRequest


def answers(port: int) -> bool | None:
    """Whether the proxy answers; None if this took so long that nobody can tell."""
    started = time.monotonic()
    try:
        with socket.create_connection(("localhost", port), PATIENCE_S) as connection:
            connection.sendall(SSL_REQUEST)
            connection.recv(1)
    except TimeoutError:
        return False if time.monotonic() - started < 2 * PATIENCE_S + PAUSE_S else None
    except OSError:
        return True
    return True


def main(config: dict[str, Any]) -> None:
    silent = 0
    while True:
        said = answers(config["port"])
        notify("READY=1\nWATCHDOG=1")
        silent = silent + 1 if said is False else 0
        if silent == SILENT_LOOKS:
            print(f"{config['unit']} answers nobody: killed", flush=True)
            try:
                run(["systemctl", "kill", "--signal=KILL", config["unit"]])
            except ProgramError as error:
                print(error, flush=True)
            silent = 0
        time.sleep(LOOK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
