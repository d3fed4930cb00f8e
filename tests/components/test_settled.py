"""Checks of what a program on the node changes by itself: what is right a moment later is not wrong."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from tercet.components.settled import settled


def holds(*argv: str) -> bool:
    request = settled(*argv)
    return subprocess.run(request.argv, timeout=request.timeout, check=False).returncode == 0


def test_what_is_right_in_a_moment_holds(tmp_path: Path) -> None:
    record = tmp_path / "a record"
    later = threading.Timer(0.5, record.touch)
    later.start()
    try:
        assert holds("test", "-e", str(record))
    finally:
        later.join()


def test_what_stays_wrong_does_not_hold(tmp_path: Path) -> None:
    assert not holds("test", "-e", str(tmp_path / "never"))
