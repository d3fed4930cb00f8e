"""Functions for daemons on their own node: running a short program, and reporting the daemon's state to systemd.

Delivered together with the daemons that import it (components/guard/component.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess


class ProgramError(Exception):
    """A program failed, could not be started or took too long. The message says which program and why."""


def run(argv: list[str], stdin: str = "", timeout: float = 5.0) -> str:
    """Run a short program and return its output. Raises ProgramError, also after `timeout` seconds."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise ProgramError(f"{argv[0]}: {error.strerror}") from None
    with process:
        try:
            stdout, stderr = process.communicate(stdin.encode(), timeout)
        except subprocess.TimeoutExpired:
            late = process.poll() is None  # otherwise the program has ended while this process was suspended
            process.kill()
            stdout, stderr = process.communicate()
            if late:
                raise ProgramError(f"{argv[0]}: still running after {timeout:g} s, killed") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = stderr.decode(errors="replace").strip().splitlines()
        raise ProgramError(f"{argv[0]}: {said[0] if said else f'status {process.returncode}'}")
    return stdout.decode(errors="replace")


def notify(state: str) -> None:
    """Tell systemd a state such as "READY=1", "STATUS=why not" or "WATCHDOG=1" (sd_notify(3)).

    Never waits: if systemd is too busy to take the datagram, the datagram is lost. So an important state must be sent
    at each poll.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        connection.send(state.encode())
