"""Running a short program on a node."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tercet.nodeside.host import ProgramError, run


def test_the_output_of_a_program_and_why_it_failed() -> None:
    assert run(["cat"], "in") == "in"
    for argv, why in (
        (["sh", "-c", "echo no >&2; echo more >&2; exit 3"], "sh: no"),
        (["false"], "false: status 1"),
        (["/nowhere"], "/nowhere: No such file or directory"),
    ):
        with pytest.raises(ProgramError, match=f"^{why}$"):
            run(argv)
    with pytest.raises(ProgramError, match=r"^sleep: still running after 0.1 s, killed$"):
        run(["sleep", "99"], timeout=0.1)


def test_a_program_that_ended_while_its_caller_was_suspended_was_not_late() -> None:
    code = """
from tercet.nodeside.host import run
print("begun", flush=True)
print(run(["sh", "-c", "sleep 1; echo done"], timeout=2), end="")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == "begun\n"
        time.sleep(0.3)
        caller.send_signal(signal.SIGSTOP)
        time.sleep(3)
        caller.send_signal(signal.SIGCONT)
        assert caller.communicate(timeout=60) == ("done\n", None)
