"""What a daemon asks of its own node: to run a short program, and to let systemd know how it is.

Delivered beside the daemons that import it (components/guard/component.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess


class ProgramError(Exception):
    """A program failed, could not be started or took too long. The message says which and why."""


def run(argv: list[str], stdin: str = "", timeout: float = 5.0) -> str:
    """What a short program prints. Raises ProgramError; `timeout` seconds are enough for one on a starved machine."""
    try:
        done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{argv[0]}: still running after {timeout:g} s, killed") from None
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ProgramError(f"{argv[0]}: {said[0] if said else f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def notify(state: str) -> None:
    """Tell systemd a state such as "READY=1", "STATUS=why not" or "WATCHDOG=1" (sd_notify(3)).

    Never waits: while systemd is too busy to take the datagram, it is lost. So a state that matters is told at each
    look.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        connection.send(state.encode())
