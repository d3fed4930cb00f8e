"""The lock among processes of one machine. With a killed process it is tested in tests/lab."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.host import lock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "LOCKS", tmp_path)
    return tmp_path


async def test_second_is_told_who_the_first_is(folder: Path) -> None:
    async with lock.held("lab", "ana@bench: up"):
        with pytest.raises(TercetError, match=r"^the platform is being changed by ana@bench: up \(process \d+\) since"):
            async with lock.held("lab", "second"):
                pytest.fail("two hold the lock")
    assert list(folder.iterdir()) == []


async def test_other_platforms_have_other_locks() -> None:
    async with lock.held("lab", "first"), lock.held("other", "second"):
        pass


async def test_lock_is_free_after_an_error() -> None:
    with pytest.raises(RuntimeError):
        async with lock.held("lab", "first"):
            raise RuntimeError
    async with lock.held("lab", "second"):
        pass


async def test_file_of_a_dead_holder_is_no_lock(folder: Path) -> None:
    (folder / "lab.lock").write_text('{"who": "dead", "pid": 1, "since": "2020"}')
    async with lock.held("lab", "living"):
        assert "living" in (folder / "lab.lock").read_text()


async def test_lock_is_held_as_long_as_one_who_shares_it_lives(folder: Path) -> None:
    async with lock.held("lab", "first") as file:
        sharer = subprocess.Popen(["sleep", "600"], pass_fds=(file,))
        ending = asyncio.get_running_loop().call_later(0.5, sharer.kill)
    try:
        assert sharer.wait(10) == -9, "the end waited for it"
        assert list(folder.iterdir()) == []
    finally:
        ending.cancel()
        sharer.kill()


async def test_one_who_shares_it_and_does_not_end_keeps_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SHARERS_S", 0.1)
    async with lock.held("lab", "first") as file:
        sharer = subprocess.Popen(["sleep", "600"], pass_fds=(file,))
    with pytest.raises(TercetError, match="being changed by first"):
        async with lock.held("lab", "second"):
            pytest.fail("two hold the lock")
    sharer.kill()
    sharer.wait()
    async with lock.held("lab", "second"):
        pass


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"{}"])
def test_holder_who_has_not_written_yet(note: bytes) -> None:
    assert "has not yet said who it is" in lock.describe(note)
