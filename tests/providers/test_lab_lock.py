"""The lab's lock. That a dead holder's lock is free is tested with a killed process in tests/lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.providers.lab import lock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "LOCKS", tmp_path)
    return tmp_path


def test_second_is_told_who_the_first_is(folder: Path) -> None:
    with (
        lock.held("lab", "ana@bench: up"),
        pytest.raises(TercetError, match=r"^the platform is being changed by ana@bench: up \(process \d+\) since "),
        lock.held("lab", "second"),
    ):
        pytest.fail("two hold the lock")
    assert list(folder.iterdir()) == []


def test_other_platforms_have_other_locks() -> None:
    with lock.held("lab", "first"), lock.held("other", "second"):
        pass


def test_lock_is_free_after_an_error() -> None:
    with pytest.raises(RuntimeError), lock.held("lab", "first"):
        raise RuntimeError
    with lock.held("lab", "second"):
        pass


def test_file_of_a_dead_holder_is_no_lock(folder: Path) -> None:
    (folder / "lab.lock").write_text('{"who": "dead", "pid": 1, "since": "2020"}')
    with lock.held("lab", "living"):
        assert "living" in (folder / "lab.lock").read_text()


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"{}"])
def test_holder_who_has_not_written_yet(note: bytes) -> None:
    assert "has not yet said who it is" in lock.describe(note)
