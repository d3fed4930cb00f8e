"""Runs a program that must not outlive its caller: `supervise.py GRACE PROGRAM…`, where the way to the node has no
process to kill.

Standard input is passed on. Invariant: once standard input ends, the program ends by itself within GRACE seconds
or is killed with all it started. Its exit status is passed on; 128 + N after a signal N.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    grace, argv = float(sys.argv[1]), sys.argv[2:]
    program = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    threading.Thread(target=feed, args=(program, grace), daemon=True).start()
    status = program.wait()
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


def feed(program: subprocess.Popen[bytes], grace: float) -> None:
    """Pass standard input on; at its end, see to the program's."""
    sink = program.stdin
    try:
        while sink is not None and (data := os.read(0, 65536)):
            sink.write(data)
            sink.flush()
    except OSError:
        pass  # the program closed its input: that is its own affair, until ours ends
    while os.read(0, 65536):
        pass
    try:
        if sink is not None:
            sink.close()
    except OSError:
        pass
    try:
        program.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
