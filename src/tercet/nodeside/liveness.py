"""Ends a Patroni or a postmaster that exists but no longer answers (`tercet-liveness.service`, database nodes).

A crashed process is seen by its parent; a frozen one (SIGSTOP, a hung disk, a bug) by nobody on its own node.
Two of them matter, and one that is about to end and never does:

- A frozen Patroni no longer renews its leader key. When that expires, a standby is promoted while the old
  primary still runs, and for a moment the other standby may confirm its commits: an acknowledged write could
  be lost. So a Patroni silent for 6 s, far within the 20 s ttl, is killed; systemd starts it anew, it finds its
  PostgreSQL running and keeps the lead.
- A frozen postmaster takes no new connection, but Patroni's own old one works, so nothing fails over. A
  postmaster that accepts a connection and says nothing for 5 s is killed; Patroni sees the crash and acts.
- A postmaster that somebody sent SIGTERM takes no new session and waits for the old ones to end. Patroni's own never
  do, so it stays primary and nobody writes, for ever (seen). After 2 s it gets SIGINT, which ends its sessions. To one
  that Patroni stops, which is always by SIGINT or SIGQUIT, another SIGINT means nothing.

Argument: a JSON file {"api": [host, port], "socket": "/run/postgresql/.s.PGSQL.5432", "pid_file": …}.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

LOOK_S = 1.0
PATRONI_SILENT_S = 6.0
POSTMASTER_SILENT_S = 5.0
SHUTDOWN_S = 2.0  # an ordered one takes 0.06 s, and more with much to flush
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the shortest question a postmaster's child answers, with one byte


def patroni_answers(host: str, port: int, timeout: float) -> bool:
    """Any HTTP answer will do; a refused connection too: a Patroni that is down is systemd's affair."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(f"GET /liveness HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return connection.recv(16).startswith(b"HTTP/")
    except TimeoutError:
        return False
    except OSError:
        return True


def postmaster_answers(path: str, timeout: float) -> bool:
    """It accepts and forks a child that answers; a socket that refuses or is not there counts as an answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) != b""
    except TimeoutError:
        return False
    except OSError:
        return True


class Watch:
    """Calls `end` once the answer has been missing for `limit` seconds; `ask` itself may take one second."""

    def __init__(self, name: str, limit: float, ask: Callable[[], bool], end: Callable[[], None]) -> None:
        self._name, self._limit, self._ask, self._end = name, limit, ask, end
        self._answered = time.monotonic()

    def look(self) -> None:
        started = time.monotonic()
        if self._ask():
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered >= self._limit:
            print(f"{self._name} has not answered for {started - self._answered:.1f} s: killed", flush=True)
            self._end()
            self._answered = time.monotonic()  # its successor gets the full time


def kill_patroni() -> None:
    subprocess.run(
        ["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "patroni.service"], timeout=5, check=False
    )


def kill_postmaster(pid_file: str) -> None:
    """The first line of postmaster.pid is its process id. Its children leave by themselves when it is gone."""
    try:
        with open(pid_file) as file:
            os.kill(int(file.readline()), signal.SIGKILL)
    except (OSError, ValueError) as error:
        print(f"postmaster: {error}", flush=True)


def stopping(pid_file: str) -> int:
    """The postmaster that says of itself, in the last line of postmaster.pid, that it shuts down; 0 if none does.

    A process id from a file is trusted only if that process is a postgres.
    """
    try:
        with open(pid_file) as file:
            lines = file.read().splitlines()
        if len(lines) < 8 or lines[7].strip() != "stopping":
            return 0
        pid = int(lines[0])
        with open(f"/proc/{pid}/comm") as file:
            return pid if file.read().strip() == "postgres" else 0
    except (OSError, ValueError):
        return 0  # it has ended


class Shutdown:
    """Hurries a shutdown that waits for sessions."""

    def __init__(self, pid_file: str) -> None:
        self._pid_file = pid_file
        self._since: tuple[int, float] | None = None

    def look(self) -> None:
        pid, now = stopping(self._pid_file), time.monotonic()
        if not pid:
            self._since = None
        elif self._since is None or self._since[0] != pid:
            self._since = (pid, now)
        elif now - self._since[1] >= SHUTDOWN_S:
            print(f"postmaster shuts down for {now - self._since[1]:.1f} s: told to end its sessions", flush=True)
            with contextlib.suppress(OSError):  # it has ended
                os.kill(pid, signal.SIGINT)
            self._since = (pid, now)


def main(config: dict[str, Any]) -> None:
    host, port = config["api"]
    watches: tuple[Watch | Shutdown, ...] = (
        Shutdown(config["pid_file"]),
        Watch("patroni", PATRONI_SILENT_S, lambda: patroni_answers(host, port, 1.0), kill_patroni),
        Watch(
            "postmaster",
            POSTMASTER_SILENT_S,
            lambda: postmaster_answers(config["socket"], 1.0),
            lambda: kill_postmaster(config["pid_file"]),
        ),
    )
    print("watching", flush=True)
    while True:
        for watch in watches:
            watch.look()
        time.sleep(LOOK_S)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
