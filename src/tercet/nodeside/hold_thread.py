"""Stops the main thread of a process while its other threads go on, until this program ends (a drill's fault).

Patroni's loop runs in its main thread, its REST API in others. A Python thread that is stopped while it holds the
interpreter's lock would stop the others, too. So the API is asked afterwards. If it is silent, the thread is released
and stopped again a moment later.

Linux resumes a stopped thread whenever its tracer ends (ptrace(2)).

Arguments: process id, host and port of its HTTPS API.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import ssl
import sys
import time

SEIZE, INTERRUPT, CONT = 0x4206, 0x4207, 7  # linux/ptrace.h
WALL = 0x40000000  # linux/wait.h: also wait for threads
ATTEMPTS = 50


def ptrace(request: int, pid: int) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def answers(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever answers
    try:
        with socket.create_connection((host, port), timeout=1) as plain, context.wrap_socket(plain) as connection:
            connection.sendall(f"GET /liveness HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def main(pid: int, host: str, port: int) -> None:
    ptrace(SEIZE, pid)
    for _ in range(ATTEMPTS):
        ptrace(INTERRUPT, pid)
        os.waitpid(pid, WALL)
        if answers(host, port):
            print(f"the main thread of {pid} is stopped, its API answers", flush=True)
            signal.pause()
        ptrace(CONT, pid)
        time.sleep(0.1)
    sys.exit(f"expected the API of {pid} to answer while its main thread is stopped, found it silent")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
