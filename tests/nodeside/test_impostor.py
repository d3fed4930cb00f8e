"""Where no firewall keeps it from that, an impostor gets root's connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tercet.nodeside import impostor

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", impostor.__file__, "nobody", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_it_takes_the_first_port_that_is_free_and_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
        other.close()
        done = run(str(busy.getsockname()[1]), str(free))
    assert (done.returncode, done.stdout) == (0, f"answered {free}\n")


def test_without_a_free_port_nothing_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        done = run(str(busy.getsockname()[1]))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no port is free\n")
