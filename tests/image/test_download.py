from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tercet.converge.events import Event
from tercet.errors import TercetError
from tercet.image.cache import Cache
from tercet.image.download import Downloads
from tercet.image.progress import Progress
from tercet.image.sources.source import Unavailable

from .conftest import Reply, Vendor, sha256

BODY = bytes(range(256)) * 4096  # 1 MiB


def part_of(cache: Cache, body: bytes, name: str) -> Path:
    """Where an unfinished download of that content is kept."""
    cache.downloads.mkdir(parents=True, exist_ok=True)
    return cache.downloads / f"{sha256(body)[:16]}-{name}.part"


async def test_a_file_comes_whole_and_is_asked_for_once(vendor: Vendor, downloads: Downloads, progress: Progress):
    vendor.serve("/a.zip", BODY)
    first = await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    second = await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert first == second
    assert first.read_bytes() == BODY
    assert vendor.paths() == ["/a.zip"]


async def test_a_kept_part_is_continued(vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache):
    vendor.serve("/a.zip", BODY)
    part_of(cache, BODY, "a.zip").write_bytes(BODY[:700_000])
    path = await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert path.read_bytes() == BODY
    assert vendor.asked[0][1]["range"] == "bytes=700000-"


async def test_a_server_without_ranges_starts_anew(
    vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache
):
    vendor.serve("/a.zip", BODY, ranges=False)
    part_of(cache, BODY, "a.zip").write_bytes(BODY[:10])
    assert (await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)).read_bytes() == BODY


async def test_a_whole_part_needs_no_server(downloads: Downloads, progress: Progress, cache: Cache):
    part_of(cache, BODY, "a.zip").write_bytes(BODY)
    path = await downloads.file("http://127.0.0.1:1/a.zip", sha256(BODY), progress)
    assert path.read_bytes() == BODY


async def test_a_connection_that_breaks_off_is_taken_up(vendor: Vendor, downloads: Downloads, progress: Progress):
    vendor.replies["/a.zip"] = [Reply(BODY, breaks_after=300_000), Reply(BODY, breaks_after=300_000), Reply(BODY)]
    path = await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert path.read_bytes() == BODY
    assert [headers.get("range") for _, headers in vendor.asked] == [None, "bytes=300000-", "bytes=600000-"]


async def test_a_connection_that_breaks_off_again_and_again_is_given_up(
    vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache
):
    vendor.replies["/a.zip"] = [Reply(BODY, breaks_after=1000), Reply(BODY, breaks_after=0)]
    with pytest.raises(Unavailable, match="broke off after 1000 bytes"):
        await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert part_of(cache, BODY, "a.zip").read_bytes() == BODY[:1000]


async def test_a_stall_is_an_error_and_what_came_is_kept(
    vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache
):
    vendor.serve("/a.zip", BODY, hangs_after=500_000)
    hasty = Downloads(cache.downloads, connect=60, stall=2)
    with pytest.raises(Unavailable, match="sent nothing for"):
        await hasty.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert part_of(cache, BODY, "a.zip").read_bytes() == BODY[:500_000]
    vendor.serve("/a.zip", BODY)
    assert (await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)).read_bytes() == BODY
    assert "range" in vendor.asked[-1][1]


async def test_wrong_content_is_set_aside_and_named(
    vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache
):
    vendor.serve("/a.zip", b"something else")
    with pytest.raises(TercetError) as caught:
        await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert not isinstance(caught.value, Unavailable)  # so that auto does not go on as if nothing were
    for said in (sha256(BODY), sha256(b"something else"), ".bad"):
        assert said in str(caught.value)
    bad, *others = cache.downloads.iterdir()
    assert bad.name.endswith("a.zip.bad")
    assert bad.read_bytes() == b"something else"
    assert others == []


async def test_a_part_longer_than_the_file_is_dropped(
    vendor: Vendor, downloads: Downloads, progress: Progress, cache: Cache
):
    vendor.serve("/a.zip", BODY)
    part_of(cache, BODY, "a.zip").write_bytes(BODY + b"more")
    with pytest.raises(Unavailable, match="run again"):
        await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    assert (await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)).read_bytes() == BODY


async def test_a_host_that_refuses_is_asked_once(downloads: Downloads):
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        port = late.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port} cannot be reached"):
            await downloads.small(f"{url}/a")
        late.listen()  # somebody listens now, and is not asked
        late.settimeout(0.2)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await downloads.small(f"{url}/b")
        with pytest.raises(TimeoutError):
            late.accept()


async def test_a_host_that_does_not_answer_costs_the_connect_time(cache: Cache):
    with socket.socket() as full:  # its queue is full, so the handshake never ends
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            await Downloads(cache.downloads, connect=0.3, stall=0.5).small(f"http://127.0.0.1:{port}/a")
        assert time.monotonic() - began < 60  # the kernel alone gives up after two minutes
        for filler in fillers:
            filler.close()


async def test_what_is_not_there_is_unavailable(vendor: Vendor, downloads: Downloads):
    with pytest.raises(Unavailable, match="404"):
        await downloads.small(f"{vendor.url}/nothing")
    vendor.serve("/there", b"yes")
    assert (await downloads.small(f"{vendor.url}/there")).content == b"yes"


async def test_a_small_file_must_be_small(vendor: Vendor, downloads: Downloads):
    vendor.serve("/sums", bytes(5 << 20))
    with pytest.raises(TercetError, match="should be a small file"):
        await downloads.small(f"{vendor.url}/sums")


async def test_progress_is_measured(vendor: Vendor, downloads: Downloads, progress: Progress, events: list[Event]):
    vendor.serve("/a.zip", BODY)
    await downloads.file(f"{vendor.url}/a.zip", sha256(BODY), progress)
    fractions = [event.fraction for event in events]
    assert fractions
    assert all(fraction is not None and 0 < fraction <= 1 for fraction in fractions)
