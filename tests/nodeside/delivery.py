"""Daemons as a node gets them: the delivered files, started by the command of their unit."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tercet.components.guard.component import CLIENT, program
from tercet.converge.resources import File
from tercet.nodeside.endpoint import Endpoint

MODULES = ("halfopen", "host", "keys", "pings", "processes", "sessions", "strict_pace", "tailnet", "timeline")
# Runs a program under a clock that is an hour ahead and an hour behind by turns. The real one is everybody's.
STEPPED = """
import itertools, os, runpy, sys, time
real, hours = time.time, itertools.cycle((3600, -3600))
time.time = lambda: real() + next(hours)
time.time_ns = lambda: int(time.time() * 1e9)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def deliver(folder: Path, name: str, config: Mapping[str, object], *, stepped: bool = False) -> list[str]:
    """Write the files of a daemon below `folder`; the command that starts it, under a stepping clock if asked for."""
    command: list[str] = []
    for each in program(name, name, config, modules=(*CLIENT, *MODULES)):
        if not isinstance(each, File):
            continue
        assert isinstance(each.content, bytes)
        path = folder / each.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.content)
        if path.suffix == ".service":
            (start,) = (line for line in each.content.decode().splitlines() if line.startswith("ExecStart="))
            _, option, *paths = shlex.split(start.removeprefix("ExecStart="))
            clock = ("-c", STEPPED) if stepped else ()
            command = [sys.executable, f"{option}u", *clock, *(str(folder / each.lstrip("/")) for each in paths)]
    return command


def loopback(port: int) -> Endpoint:
    """An API of this machine."""
    return Endpoint("127.0.0.1", port)


def replace_program(folder: Path, name: str, script: str) -> Path:
    """A program of the daemon's node, as a shell script in `folder`, which is to be the first of PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class Systemd:
    """What a daemon tells systemd; `address` is its NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(60)

    def until(self, wanted: str) -> list[str]:
        """The lines of all that it told, up to the one that is wanted."""
        told: list[str] = []
        while wanted not in told:
            told += self._socket.recv(1000).decode().splitlines()
        return told

    def silent(self, seconds: float) -> bool:
        """It tells nothing for so long, apart from what is on its way already."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while self._socket.recv(1000):
                pass
        self._socket.settimeout(seconds)
        try:
            return not self._socket.recv(1000)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(60)

    def close(self) -> None:
        self._socket.close()
