from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tercet.converge.events import Event, silent
from tercet.errors import TercetError
from tercet.image.cache import Cache, discard

from .conftest import as_root

HOLD = """
import asyncio, sys
from pathlib import Path
from tercet.converge.events import silent
from tercet.image.cache import Cache
async def main():
    async with Cache(Path(sys.argv[1])).writing("a test that holds it", silent, 60):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def holder(cache: Cache) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the cache's lock until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(cache.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_second_process_is_told_who_holds_the_cache(cache: Cache, events: list[Event]):
    with holder(cache) as process:
        with pytest.raises(TercetError) as caught:
            async with cache.writing("me", events.append, timeout=0.2):
                pass
        for said in (f"process {process.pid}", "a test that holds it", "not free within", str(cache.root / "lock")):
            assert said in str(caught.value)
        assert f"waiting for process {process.pid}" in events[0].text


async def test_a_second_process_goes_on_when_the_first_ends(cache: Cache):
    with holder(cache) as process:
        waiting = asyncio.create_task(_take(cache))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(waiting, 60)


async def test_a_killed_holder_blocks_nobody(cache: Cache):
    with holder(cache) as process:
        process.kill()
        process.wait(60)
        await asyncio.wait_for(_take(cache), 60)


async def _take(cache: Cache) -> None:
    async with cache.writing("me", silent, timeout=60):
        pass


def test_scratch_is_gone_after_an_error_too(cache: Cache):
    with pytest.raises(RuntimeError), cache.scratch("work") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        raise RuntimeError
    assert list(cache.build.iterdir()) == []


def test_sweep_removes_what_a_killed_run_left(cache: Cache):
    (cache.build / "base-abc" / "rootfs" / "etc").mkdir(parents=True)
    (cache.build / "note").write_text("x")
    cache.sweep()
    assert list(cache.build.iterdir()) == []


@as_root
def test_nothing_is_removed_through_a_mount(tmp_path: Path):
    mounted = tmp_path / "tree" / "dev"
    mounted.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True, timeout=20)
    try:
        (mounted / "precious").write_text("x")
        with pytest.raises(TercetError, match="is mounted in it"):
            discard(tmp_path / "tree")
        assert (mounted / "precious").exists()
    finally:
        subprocess.run(["umount", mounted], check=True, timeout=20)
    discard(tmp_path / "tree")
    assert not os.path.lexists(tmp_path / "tree")


async def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TercetError, match=r"cannot be written \(Not a directory\); run with sudo"):
        async with Cache(tmp_path / "file" / "cache").writing("me", silent, timeout=1):
            pass


def test_a_full_disk_is_said_before_the_work(tmp_path: Path):
    Cache(tmp_path).need_space(1)
    with pytest.raises(TercetError, match=r"needs 1000000000 GB .* are free; make room"):
        Cache(tmp_path).need_space(10**18)
