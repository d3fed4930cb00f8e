"""Takes a port of the platform that is free on this node, as a user who may not serve there, and connects to it as
root.

Prints "answered PORT" if the user got the connection, and "ignored PORT" if not. Arguments: the user's name, and ports.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
from collections.abc import Sequence

CONNECT_S = 2.0


def taken(ports: Sequence[int]) -> socket.socket | None:
    """A listener at the first of these ports that is free; None if none is."""
    for port in ports:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
    return None


def serve(user: str, ports: Sequence[int], tell: int) -> None:
    """Give up root for good, write the port that was taken, and wait to be killed. Raises KeyError if there is no such
    user.
    """
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if listener := taken(ports):
        os.write(tell, b"%d" % listener.getsockname()[1])
        signal.pause()


def main(user: str, ports: Sequence[int]) -> int:
    """Returns the exit status: 0 if a port was tried."""
    heard, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(heard)
        serve(user, ports, tell)
        os._exit(1)
    os.close(tell)
    try:
        port = os.read(heard, 16).decode()
        if not port:
            print("no port is free", file=sys.stderr)
            return 1
        try:
            socket.create_connection(("127.0.0.1", int(port)), CONNECT_S).close()
            print(f"answered {port}")
        except OSError:
            print(f"ignored {port}")
        return 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
