"""Where a record ends, and what is said of a node without data. The rest needs PostgreSQL: lab/test_recover.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tercet.nodeside import wal

MB = 1 << 20


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        ("0/3000028", 24, "0/3000040"),
        ("0/3000028", 50, "0/3000060"),  # aligned to 8
        ("0/3001FF8", 16, "0/3002020"),  # 8 bytes on this page, a page's header of 24, 8 on the next
        ("0/33FFFF8", 16, "0/3400030"),  # the next page begins a segment of 4 MB: its header has 40
        ("0/3001FF8", 8, "0/3002000"),
        ("0/FFFFFFF8", 16, "1/30"),
    ],
)
def test_where_a_record_ends(start: str, length: int, end: str) -> None:
    assert wal.as_text(wal.behind(wal.position(start), length, 4 * MB)) == end


def test_a_node_without_data_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", wal.__file__, tmp_path, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == '{"data": false}\n'


def test_a_process_id_that_is_someone_elses_is_no_running_postgresql(tmp_path: Path) -> None:
    assert not wal.running(tmp_path)
    (tmp_path / "postmaster.pid").write_text("1\n")
    assert not wal.running(tmp_path)
