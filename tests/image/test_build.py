"""The whole image with small programs: what is found, made, kept, and made anew."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tercet.converge.events import Event, silent
from tercet.errors import TercetError
from tercet.image import base, catalog, manifest
from tercet.image.build import Image, ensure_image, export_template, find_image, together
from tercet.image.cache import Cache
from tercet.image.lock import DebianEntry
from tercet.inventory.model import Inventory

from .conftest import as_root, base_in, elf, with_sources

PROGRAMS = tuple(program for component in catalog.every() for program in component.programs)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of binaries that do nothing, with success."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_bytes(elf(salt=name.encode()))
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def given(inventory: Inventory, programs: Path, cache: Cache) -> Inventory:
    """Every program by path, and a base system of two files in the cache."""
    base_in(cache, jq="1.7")
    return with_sources(inventory, **dict.fromkeys(type(inventory.sources).model_fields, f"path:{programs}"))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "tercet.lock.json"


@as_root
async def test_the_tree_has_the_base_and_every_program_where_it_belongs(given: Inventory, lock: Path, cache: Cache):
    image = await ensure_image(given, lock, silent)
    assert image.rootfs == cache.images / image.key / "rootfs"
    assert (image.proxy, image.proxy_reason) == ("pgcat", "PgCat 5b03881, from path")
    assert {program.name for program in image.programs} == set(PROGRAMS)
    for program in image.programs:
        inside = image.rootfs / program.binary.lstrip("/")
        assert str((image.rootfs / program.link.lstrip("/")).readlink()) == program.binary
        assert inside.read_bytes() == program.source.read_bytes() == elf(salt=program.name.encode())
        assert inside.stat().st_ino == program.source.stat().st_ino  # shared with the cache, not copied
        assert inside.stat().st_mode & 0o7777 == 0o755
    base = next(cache.images.glob("base-*/rootfs"))
    assert (image.rootfs / "etc/debian_version").stat().st_ino == (base / "etc/debian_version").stat().st_ino
    assert not (base / "usr/local/bin/consul").is_symlink()  # the base stays as it was
    assert list(cache.build.iterdir()) == []


@as_root
async def test_what_is_there_is_found_and_made_only_once(given: Inventory, lock: Path):
    assert find_image(given, lock) is None
    image = await ensure_image(given, lock, silent)
    assert find_image(given, lock) == image
    events: list[Event] = []
    assert await ensure_image(given, lock, events.append) == image
    assert [(event.state, event.text) for event in events] == [("done", f"image {image.key}: in the cache")]


@as_root
async def test_another_lock_finds_the_same_image_without_the_given_files(
    given: Inventory, lock: Path, programs: Path, tmp_path: Path
):
    image = await ensure_image(given, lock, silent)
    for program in programs.iterdir():
        program.unlink()
    assert find_image(given, lock) == image  # the lock pins what the cache has


@as_root
async def test_each_change_gives_another_image(given: Inventory, lock: Path, programs: Path):
    keys = {(await ensure_image(given, lock, silent)).key}
    (programs / "consul").write_bytes(elf(salt=b"new"))
    assert find_image(given, lock) is None
    keys.add((await ensure_image(given, lock, silent)).key)
    without_pgcat = given.model_copy(update={"proxy": "pgpool"})
    keys.add((await ensure_image(without_pgcat, lock, silent)).key)
    without_headscale = given.model_copy(update={"provider": "proxmox"})
    production = await ensure_image(without_headscale, lock, silent)
    assert "headscale" not in {program.name for program in production.programs}
    keys.add(production.key)
    assert len(keys) == 4


@as_root
async def test_a_missing_part_is_made_again(given: Inventory, lock: Path, cache: Cache):
    image = await ensure_image(given, lock, silent)
    for missing in (image.programs[0].source, image.rootfs):
        missing.rename(cache.root / "away")
        assert find_image(given, lock) is None
        assert await ensure_image(given, lock, silent) == image
        subprocess.run(["rm", "-r", cache.root / "away"], check=True, timeout=20)


@as_root
async def test_debians_packages_are_part_of_the_key_and_pinned_by_the_lock(
    given: Inventory, lock: Path, cache: Cache, tmp_path: Path
):
    first = await ensure_image(given, lock, silent)
    assert json.loads(lock.read_text())["debian"]["packages"] == {"jq": "1.7"}
    base_in(cache, jq="1.8")
    assert find_image(given, lock) == first, "the lock says which packages"
    shutil.rmtree(first.rootfs.parent)
    assert await ensure_image(given, lock, silent) == first
    other = await ensure_image(given, tmp_path / "other.lock.json", silent)
    assert other.key != first.key, "a lock without packages takes the newest"
    data = json.loads(lock.read_text())
    del data["debian"]
    lock.write_text(json.dumps(data))
    assert find_image(given, lock) is None
    assert await ensure_image(given, lock, silent) == other, "and so does one whose entry was removed"


TEARS = {
    "a file is gone": lambda rootfs: (rootfs / "etc/debian_version").unlink(),
    "a file is empty": lambda rootfs: (rootfs / "etc/debian_version").write_text(""),
    "a link leads elsewhere": lambda rootfs: relink(rootfs / "usr/local/bin/consul"),
    "a folder is gone": lambda rootfs: shutil.rmtree(rootfs / "usr"),
    "all is gone": shutil.rmtree,
    "the manifest is gone": lambda rootfs: (rootfs.parent / "manifest").unlink(),
    "the manifest is empty": lambda rootfs: (rootfs.parent / "manifest").write_text(""),
}


def relink(link: Path) -> None:
    link.unlink()
    link.symlink_to("/nowhere")


@as_root
@pytest.mark.parametrize("tear", TEARS)
async def test_a_torn_image_is_set_aside_and_made_anew(given: Inventory, lock: Path, cache: Cache, tear: str):
    image = await ensure_image(given, lock, silent)
    unlinked(cache)
    TEARS[tear](image.rootfs)
    events: list[Event] = []
    assert await ensure_image(given, lock, events.append) == image
    assert (image.rootfs / "etc/debian_version").read_text() == "13.0\n"
    assert (image.rootfs / "usr/local/bin/consul").resolve() != Path("/nowhere")
    (aside,) = cache.images.glob(f"{image.key}.torn-*")
    assert [
        event
        for event in events
        if f"{image.key} is incomplete and made again: " in event.text and str(aside) in event.text
    ]
    events.clear()
    assert await ensure_image(given, lock, events.append) == image
    assert [event.text for event in events] == [f"image {image.key}: in the cache"]


@as_root
async def test_a_program_with_other_content_of_the_same_size_is_made_anew(given: Inventory, lock: Path, cache: Cache):
    image = await ensure_image(given, lock, silent)
    program = next(program for program in image.programs if program.name == "consul")
    wanted = program.source.read_bytes()
    program.source.write_bytes(wanted[:-1] + b"!")  # the tree's file is the same one
    assert find_image(given, lock) == image, "it looks at sizes only"
    events: list[Event] = []
    assert await ensure_image(given, lock, events.append) == image
    inside = image.rootfs / program.binary.lstrip("/")
    assert program.source.read_bytes() == inside.read_bytes() == wanted
    assert [event for event in events if f"expected opt/tercet/programs/consul/{program.sha256}" in event.text]


@as_root
async def test_a_torn_base_makes_no_image(given: Inventory, lock: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch):
    (next(cache.images.glob("base-*/rootfs")) / "etc/debian_version").write_text("")

    async def build(*_: object) -> DebianEntry:
        return base_in(cache, jq="1.7")

    monkeypatch.setattr(base, "_build", build)
    image = await ensure_image(given, lock, silent)
    assert (image.rootfs / "etc/debian_version").read_text() == "13.0\n"
    assert len(list(cache.images.glob("base-*.torn-*"))) == 1


@as_root
async def test_nothing_has_its_final_name_before_it_is_on_the_disk(
    given: Inventory, lock: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    async def killed(argv: list[str], **_: object) -> None:
        (folder,) = map(Path, argv[2:])
        assert argv[:2] == ["sync", "--file-system"]
        assert (folder / "rootfs/etc/debian_version").exists() and (folder / "manifest").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(manifest, "run", killed)
        await ensure_image(given, lock, silent)
    assert [folder.name[:4] for folder in cache.images.iterdir()] == ["base"]
    assert find_image(given, lock) is None
    assert await ensure_image(given, lock, silent) == find_image(given, lock)


def unlinked(cache: Cache) -> None:
    """Give the base files of its own: a test that tears an image tears the base's, too, through the hard links."""
    for path in cache.images.glob("base-*/rootfs/etc/*"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


@as_root
async def test_what_a_killed_run_left_is_cleared_away(given: Inventory, lock: Path, cache: Cache):
    (cache.build / "image-left" / "rootfs").mkdir(parents=True)
    await ensure_image(given, lock, silent)
    assert list(cache.build.iterdir()) == []


@as_root
async def test_a_program_that_does_not_run_in_the_image_is_named(
    given: Inventory, lock: Path, programs: Path, cache: Cache
):
    (programs / "nomad").write_bytes(elf(code=b"\x0f\x0b" + bytes(8)))  # an illegal instruction
    with pytest.raises(TercetError, match=r"nomad 1\.11\.3 .* should run in the image, but does not"):
        await ensure_image(given, lock, silent)
    assert find_image(given, lock) is None
    assert [folder.name[:4] for folder in cache.images.iterdir()] == ["base"]


ENSURE = """
import asyncio, sys
from pathlib import Path
from tercet.image.build import ensure_image
from tercet.inventory.model import inventory_model
inventory = inventory_model().model_validate_json(sys.stdin.read())
print(asyncio.run(ensure_image(inventory, Path(sys.argv[1]), lambda event: None)).key)
"""


@as_root
async def test_two_processes_at_once_make_one_image(given: Inventory, cache: Cache, tmp_path: Path):
    written = given.model_dump_json(exclude_unset=True).encode()

    async def one(name: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENSURE, str(tmp_path / name)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(written), 100)
        assert process.returncode == 0, err.decode()
        return out.decode().strip()

    keys = await asyncio.gather(*(one(f"{number}.lock.json") for number in range(2)))
    assert len(set(keys)) == 1
    assert len([folder for folder in cache.images.iterdir() if not folder.name.startswith("base-")]) == 1
    assert list(cache.build.iterdir()) == []


@as_root
async def test_the_template_is_the_tree(given: Inventory, lock: Path, tmp_path: Path):
    image = await ensure_image(given, lock, silent)
    target = tmp_path / "out" / f"tercet-{image.key}.tar.zst"
    assert await export_template(image, target, silent) == target
    plain = tmp_path / "plain.tar"
    subprocess.run(["zstd", "-q", "-d", target, "-o", plain], check=True, timeout=20)
    with tarfile.open(plain) as archive:
        names = set(archive.getnames())
        assert {"./etc/debian_version", "./usr/local/bin/consul"} <= names
        link = archive.getmember("./usr/local/bin/nomad")
        assert link.issym()
        assert f".{link.linkname}" in names
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    written = target.stat().st_mtime_ns
    await export_template(image, target, silent)
    assert target.stat().st_mtime_ns == written  # its name holds the key: done
    other = await export_template(image, tmp_path / "out" / "template.tar.zst", silent)
    other.write_bytes(b"old")
    assert (await export_template(image, other, silent)).stat().st_size > 100


async def test_the_same_files_make_the_same_template_whenever_they_were_written(tmp_path: Path):
    packed = []
    for number in range(2):
        rootfs = tmp_path / str(number) / "rootfs"
        modules = rootfs / "usr/lib/python3/dist-packages"
        modules.mkdir(parents=True)
        for name, at in (("a.py", 1_700_000_000), ("b.py", 1_600_000_000), ("../../made", 1_800_000_000 + number)):
            (modules / name).write_text(name)
            os.utime(modules / name, (at, at))
        image = Image("k" * 16, rootfs, (), "pgpool", "")
        packed.append(await export_template(image, tmp_path / f"{number}.tar.zst", silent))
    assert packed[0].read_bytes() == packed[1].read_bytes()
    listed = subprocess.run(["tar", "--utc", "-tvf", packed[0]], check=True, timeout=20, capture_output=True, text=True)
    times = {line.split()[-1].rpartition("/")[2]: line.split()[3] for line in listed.stdout.splitlines()}
    assert (times["a.py"], times["b.py"], times["made"]) == ("2023-11-14", "2020-09-13", "2023-11-14")


async def test_a_template_that_cannot_be_packed_leaves_nothing(tmp_path: Path):
    image = Image("k" * 16, tmp_path / "nothing", (), "pgpool", "")
    with pytest.raises(TercetError, match="tar left with status"):
        await export_template(image, tmp_path / "out" / "template.tar.zst", silent)
    assert list((tmp_path / "out").iterdir()) == []


def test_find_image_writes_nothing_and_needs_nothing(inventory: Inventory, lock: Path):
    assert find_image(inventory, lock) is None
    assert not inventory.cache.exists()
    assert not lock.exists()


def test_a_broken_lock_is_not_taken_for_an_absent_one(inventory: Inventory, lock: Path):
    lock.write_text("{")
    with pytest.raises(TercetError, match="remove it"):
        find_image(inventory, lock)


async def test_the_first_failure_comes_out_alone_and_ends_the_rest():
    ended = asyncio.Event()

    async def fails() -> None:
        raise TercetError("the one")

    async def lasts() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(TercetError, match="the one"):
        await together(lasts(), fails())
    assert ended.is_set()
    with pytest.raises(ExceptionGroup, match="unhandled"):  # a bug keeps its traceback
        await together(_bug())


async def _bug() -> None:
    raise KeyError("a bug")
