"""Tries to connect as a user of the node, to all doors at once. Prints a line for each door that answers in time: "open
DOOR" or "refused DOOR".

Arguments: the user's name, seconds, and ADDRESS:PORT of each door. The address may be a name.
"""

from __future__ import annotations

import errno
import os
import pwd
import select
import socket
import sys
import time


def become(user: str) -> None:
    """Give up root for good. Raises KeyError if there is no such user."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def knock(doors: list[str], seconds: float) -> dict[str, bool]:
    """Whether each door is open. A door that does not answer in time is missing."""
    found: dict[str, bool] = {}
    waiting: dict[int, tuple[socket.socket, str]] = {}
    poller = select.poll()
    for door in doors:
        host, _, port = door.rpartition(":")
        asked = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            result = asked.connect_ex((host, int(port)))
        except socket.gaierror:
            result = errno.EHOSTUNREACH
        if result == errno.EINPROGRESS:
            waiting[asked.fileno()] = (asked, door)
            poller.register(asked, select.POLLOUT)
        else:
            found[door] = result == 0
            asked.close()
    ends = time.monotonic() + seconds
    while waiting and (left := ends - time.monotonic()) > 0:
        for number, _ in poller.poll(left * 1000):
            asked, door = waiting.pop(number)
            poller.unregister(number)
            found[door] = asked.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            asked.close()
    return found


if __name__ == "__main__":
    become(sys.argv[1])
    for each, opened in knock(sys.argv[3:], float(sys.argv[2])).items():
        print("open" if opened else "refused", each, flush=True)
