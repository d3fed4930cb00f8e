"""Runs a program that must not outlive its caller: `supervise.py GRACE PROGRAM…`. Used if the caller has no process to
kill.

Standard input is passed on. Invariant: when standard input ends, the program ends by itself within GRACE seconds or is
killed with all programs that it started. Its exit status is passed on; 128 + N after signal N.
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
    """Pass standard input on; when it ends, make the program end."""
    sink = program.stdin
    try:
        while sink is not None and (data := os.read(0, 65536)):
            sink.write(data)
            sink.flush()
    except OSError:
        pass  # the program closed its input, which it may do; keep waiting for the end of ours
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
