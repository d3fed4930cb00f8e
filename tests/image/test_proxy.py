from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.components.proxy import programs
from tercet.components.proxy.programs import PGCAT
from tercet.converge.events import Event
from tercet.errors import TercetError
from tercet.image.catalog import Package
from tercet.image.elf import host_arch
from tercet.image.lock import read_lock
from tercet.image.proxy import resolve, resolved
from tercet.image.resolve import Run
from tercet.image.sources.oci_image import OciImage
from tercet.image.store import program_path
from tercet.inventory.model import Inventory

from .conftest import elf, sha256, with_sources

Start = Callable[..., Run]


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """PgCat's registry is a port of the loopback where nobody listens."""
    sources = {"oci-image": OciImage("postgresml/pgcat", base_url="http://127.0.0.1:1")}
    monkeypatch.setattr(programs, "PGCAT", Package(PGCAT.name, PGCAT.programs, sources))


@pytest.fixture
def pgcat_file(tmp_path: Path) -> Path:
    file = tmp_path / "pgcat"
    file.write_bytes(elf())
    file.chmod(0o755)
    return file


def wanting(inventory: Inventory, kind: str) -> Inventory:
    return inventory.model_copy(update={"proxy": kind})


async def test_auto_without_pgcat_is_pgpool_with_the_reason_in_one_line(
    inventory: Inventory, start: Start, events: list[Event]
):
    kind, reason = await resolve(start(inventory))
    assert kind == "pgpool"
    assert reason == (
        "pgpool-II, because PgCat is not available (oci-image: 127.0.0.1:1 cannot be reached "
        "(All connection attempts failed))"
    )
    assert any(event.text == f"proxy: {reason}" for event in events)


async def test_what_was_resolved_stays_resolved(inventory: Inventory, start: Start, tmp_path: Path):
    first = await resolve(start(inventory))
    lock = read_lock(tmp_path / "tercet.lock.json")
    assert resolved(inventory, lock, host_arch()) == first
    # … until PgCat is to come from elsewhere.
    assert resolved(with_sources(inventory, pgcat="path:/there"), lock, host_arch()) is None


async def test_auto_with_a_binary_is_pgcat(inventory: Inventory, start: Start, pgcat_file: Path, tmp_path: Path):
    await resolve(start(inventory))
    given = with_sources(inventory, pgcat=f"path:{pgcat_file}")
    assert await resolve(start(given)) == ("pgcat", "PgCat 5b03881, from path")
    lock = read_lock(tmp_path / "tercet.lock.json")
    assert lock.proxy is None
    assert lock.components["pgcat"].programs["pgcat"].sha256 == sha256(elf())


async def test_pgcat_that_cannot_be_had_is_an_error_with_every_remedy(inventory: Inventory, start: Start):
    with pytest.raises(TercetError) as caught:
        await resolve(start(wanting(inventory, "pgcat")))
    for remedy in ("access", "sources.pgcat: path:/", "proxy: pgpool"):
        assert remedy in str(caught.value)


async def test_a_wrong_binary_is_an_error_and_no_reason_for_pgpool(inventory: Inventory, start: Start, tmp_path: Path):
    (tmp_path / "pgcat").write_text("#!/bin/sh")
    with pytest.raises(TercetError, match="not a Linux program"):
        await resolve(start(with_sources(inventory, pgcat=f"path:{tmp_path}/pgcat")))


async def test_a_platform_with_pgcat_does_not_become_one_with_pgpool(
    inventory: Inventory, start: Start, pgcat_file: Path
):
    given = with_sources(inventory, pgcat=f"path:{pgcat_file}")
    run = start(given)
    await resolve(run)
    program_path(run.cache, "pgcat", sha256(elf())).unlink()
    pgcat_file.unlink()
    with pytest.raises(TercetError, match="there is nothing there"):
        await resolve(start(given))


async def test_pgpool_asks_nobody(inventory: Inventory, start: Start, events: list[Event]):
    assert await resolve(start(wanting(inventory, "pgpool"))) == ("pgpool", "pgpool-II, as the inventory says")
    assert [event.text for event in events] == ["proxy: pgpool-II, as the inventory says"]
