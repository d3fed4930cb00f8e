"""Which source is asked, and when none is: with small components whose vendors are on the loopback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tercet.components.consul.programs import CONSUL
from tercet.converge.events import Event
from tercet.errors import TercetError
from tercet.image.cache import Cache
from tercet.image.catalog import Package
from tercet.image.lock import ProgramEntry, read_lock
from tercet.image.resolve import NoSource, Run, obtain, pinned
from tercet.image.sources.source import Fetched, Source, Unavailable, Wanted, Workshop
from tercet.image.store import file_sha256, program_path
from tercet.inventory.model import Inventory

from .conftest import elf, sha256, with_sources

Start = Callable[..., Run]


@dataclass
class Shelf(Source):
    """A source that gives `content`, or raises it; it counts how often it is asked."""

    content: bytes | TercetError
    asked: int = 0
    recipe: str = ""
    versions: list[str] = field(default_factory=list)

    async def fetch(self, wanted: Wanted, workshop: Workshop) -> Fetched:
        self.asked += 1
        self.versions.append(wanted.version)
        if isinstance(self.content, TercetError):
            raise self.content
        files = {name: workshop.scratch / name for name in wanted.programs}
        for file in files.values():
            file.write_bytes(self.content)
            file.chmod(0o755)
        return Fetched(files, "a shelf")

    def stamp(self, programs: tuple[str, ...]) -> str:
        return self.recipe


def consul(official: Shelf, go_module: Shelf | None = None) -> Package:
    sources: dict[str, Source] = {"official": official}
    if go_module is not None:
        sources["go-module"] = go_module
    return Package("consul", {"consul": ("version",)}, sources)


async def test_auto_takes_the_first_source_that_has_it(inventory: Inventory, start: Start, cache: Cache, events):
    official, go_module = Shelf(elf()), Shelf(elf(salt=b"built"))
    entry = await obtain(consul(official, go_module), start(inventory))
    assert (entry.source, go_module.asked) == ("official", 0)
    assert entry.programs["consul"].sha256 == sha256(elf())
    assert file_sha256(program_path(cache, "consul", sha256(elf()))) == sha256(elf())
    assert events[-1].state == "done"


async def test_auto_goes_on_where_there_is_no_network_and_says_so(
    inventory: Inventory, start: Start, events: list[Event], tmp_path: Path
):
    away = Shelf(Unavailable("releases.example cannot be reached (refused)"))
    entry = await obtain(consul(away, Shelf(elf())), start(inventory))
    assert entry.source == "go-module"
    assert any("not from official: releases.example cannot be reached" in event.text for event in events)
    assert read_lock(tmp_path / "tercet.lock.json").components["consul"] == entry


async def test_auto_does_not_go_on_after_something_false(inventory: Inventory, start: Start, tmp_path: Path):
    go_module = Shelf(elf())
    with pytest.raises(TercetError, match="checksum"):
        await obtain(consul(Shelf(TercetError("the checksum is wrong")), go_module), start(inventory))
    assert go_module.asked == 0
    assert read_lock(tmp_path / "tercet.lock.json").components == {}


async def test_no_source_at_all_names_each_and_the_remedies(inventory: Inventory, start: Start):
    component = consul(Shelf(Unavailable("no route")), Shelf(Unavailable("no proxy")))
    with pytest.raises(NoSource) as caught:
        await obtain(component, start(inventory))
    for said in ("official: no route", "go-module: no proxy", "sources.consul: path:/"):
        assert said in str(caught.value)


async def test_a_wrong_program_is_not_taken(inventory: Inventory, start: Start, cache: Cache):
    with pytest.raises(TercetError, match="not a Linux program"):
        await obtain(consul(Shelf(b"<html>")), start(inventory))
    assert not cache.programs.exists()


async def test_the_lock_is_used_without_asking_anybody(inventory: Inventory, start: Start):
    shelf = Shelf(elf())
    first = await obtain(consul(shelf), start(inventory))
    assert await obtain(consul(shelf), start(inventory)) == first
    assert shelf.asked == 1


async def test_another_platforms_lock_takes_what_the_cache_has(inventory: Inventory, start: Start, tmp_path: Path):
    shelf = Shelf(elf())
    first = await obtain(consul(shelf), start(inventory))
    explicit = with_sources(inventory, consul="official")
    second = await obtain(consul(shelf), start(explicit, "other.lock.json"))
    assert shelf.asked == 1
    assert second == first.model_copy(update={"requested": "official"})
    assert read_lock(tmp_path / "other.lock.json").components["consul"] == second


@pytest.mark.parametrize("damage", [b"", elf()[:-1], elf()[:-1] + b"?"])
async def test_a_damaged_file_is_had_anew(inventory: Inventory, start: Start, cache: Cache, damage: bytes):
    shelf = Shelf(elf())
    entry = await obtain(consul(shelf), start(inventory))
    path = program_path(cache, "consul", entry.programs["consul"].sha256)
    path.write_bytes(damage)
    assert (await obtain(consul(shelf), start(inventory))).programs == entry.programs
    assert path.read_bytes() == elf()
    assert shelf.asked == 2


async def test_a_published_file_that_changed_is_refused(inventory: Inventory, start: Start, cache: Cache):
    await obtain(consul(Shelf(elf())), start(inventory))
    program_path(cache, "consul", sha256(elf())).unlink()
    with pytest.raises(TercetError, match=r'the lock pins.*remove "consul" from the lock'):
        await obtain(consul(Shelf(elf(salt=b"republished"))), start(inventory))


async def test_a_lock_from_elsewhere_is_heeded_over_what_this_cache_has(
    inventory: Inventory, start: Start, cache: Cache, tmp_path: Path
):
    await obtain(consul(Shelf(Unavailable("no network")), Shelf(elf(salt=b"built"))), start(inventory))
    colleague = start(inventory, "other.lock.json")
    mine = read_lock(tmp_path / "tercet.lock.json").components["consul"]
    theirs = mine.model_copy(
        update={"source": "official", "programs": {"consul": ProgramEntry(sha256=sha256(elf()), size=len(elf()))}}
    )
    colleague.lock.choose("consul", theirs)
    official, go_module = Shelf(elf()), Shelf(elf(salt=b"built"))
    had = await obtain(consul(official, go_module), colleague)
    assert (had.source, official.asked, go_module.asked) == ("official", 1, 0)
    assert had.programs == theirs.programs


async def test_what_the_cache_remembers_is_not_taken_if_the_lock_has_another_digest(
    inventory: Inventory, start: Start, cache: Cache
):
    """Both are from the same source, which publishes each version once: one of the two was forged."""
    await obtain(consul(Shelf(elf(salt=b"forged"))), start(inventory))
    colleague = start(inventory, "other.lock.json")
    remembered = start(inventory).lock.lock.components["consul"]
    pinned_by_lock = {"consul": ProgramEntry(sha256=sha256(elf()), size=len(elf()))}
    colleague.lock.choose("consul", remembered.model_copy(update={"programs": pinned_by_lock}))
    official = Shelf(elf())
    assert (await obtain(consul(official), colleague)).programs == pinned_by_lock
    assert official.asked == 1


async def test_a_source_that_is_blocked_does_not_lead_to_another_than_the_locks(
    inventory: Inventory, start: Start, cache: Cache, tmp_path: Path
):
    first = await obtain(consul(Shelf(elf()), Shelf(elf(salt=b"built"))), start(inventory))
    program_path(cache, "consul", sha256(elf())).unlink()
    other = Shelf(elf(salt=b"built"))
    with pytest.raises(NoSource, match=r'no route\. Give .* to one of these, remove "consul" from the lock to let'):
        await obtain(consul(Shelf(Unavailable("no route")), other), start(inventory))
    assert other.asked == 0
    assert read_lock(tmp_path / "tercet.lock.json").components["consul"] == first


async def test_a_build_may_differ(inventory: Inventory, start: Start, cache: Cache):
    away = Shelf(Unavailable("no network"))
    await obtain(consul(away, Shelf(elf())), start(inventory))
    program_path(cache, "consul", sha256(elf())).unlink()
    entry = await obtain(consul(away, Shelf(elf(salt=b"other compiler"))), start(inventory))
    assert entry.programs["consul"].sha256 == sha256(elf(salt=b"other compiler"))
    assert away.asked == 1  # the second time only the lock's source was asked


async def test_a_changed_recipe_is_built_anew(inventory: Inventory, start: Start):
    shelf = Shelf(elf(), recipe="one")
    await obtain(consul(shelf), start(inventory))
    shelf.recipe, shelf.content = "two", elf(salt=b"two")
    entry = await obtain(consul(shelf), start(inventory))
    assert (shelf.asked, entry.stamp) == (2, "two")


@pytest.mark.parametrize(
    "changes",
    [{"sources": {"consul": "official"}}, {"versions": {"consul": "1.22.8"}}],
    ids=["another source", "another version"],
)
async def test_a_changed_inventory_is_not_what_the_lock_pins(inventory: Inventory, start: Start, changes):
    run = start(inventory)
    component = consul(Shelf(elf()))
    await obtain(component, run)
    assert pinned(component, inventory, run.lock.lock, run.arch) is not None
    for part, update in changes.items():
        changed = inventory.model_copy(update={part: getattr(inventory, part).model_copy(update=update)})
        assert pinned(component, changed, run.lock.lock, run.arch) is None
    other = "arm64" if run.arch == "amd64" else "amd64"
    assert pinned(component, inventory, run.lock.lock, other) is None


async def test_a_file_given_by_path_is_taken_anew_when_it_changes(inventory: Inventory, start: Start, tmp_path: Path):
    file = tmp_path / "my-consul"
    file.write_bytes(elf())
    file.chmod(0o755)
    given = with_sources(inventory, consul=f"path:{file}")
    first = await obtain(CONSUL, start(given))
    assert (first.source, first.requested) == ("path", f"path:{file}")
    file.write_bytes(elf(salt=b"new"))
    second = await obtain(CONSUL, start(given))
    assert second.programs["consul"].sha256 == sha256(elf(salt=b"new"))
    file.unlink()  # the cache has its copy
    assert await obtain(CONSUL, start(given)) == second


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("oci-image", "expected one of auto, official, go-module, path:/…; found 'oci-image'"),
        ("path:relative", "write the absolute path"),
    ],
)
async def test_a_source_that_cannot_serve_is_explained(inventory: Inventory, start: Start, word: str, complaint: str):
    with pytest.raises(TercetError, match=complaint):
        await obtain(CONSUL, start(with_sources(inventory, consul=word)))
