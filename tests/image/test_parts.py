"""What an image consists of: read from the lock file, and compared with the cache if it has the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.image import store
from tercet.image.base import base_key, definition
from tercet.image.cache import Cache
from tercet.image.catalog import components
from tercet.image.elf import host_arch
from tercet.image.lock import ArchiveEntry, ComponentEntry, DebianEntry, Lock, LockFile, ProxyEntry
from tercet.image.manifest import MANIFEST
from tercet.image.parts import Contents, Kind, contents
from tercet.image.tree import image_key, image_tree, install
from tercet.inventory.model import Inventory
from tercet.inventory.platform import Platform

from .conftest import elf, sha256, with_sources

WHEN = "2026-01-01T00:00:00+00:00"
SHORT = {"adduser:all": "3.152", "libc6:amd64": "2.41-12"}
ARCHIVES = {
    "adduser:all": ArchiveEntry(path="pool/main/a/adduser/adduser_3.152_all.deb", sha256="a" * 64),
    "libc6:amd64": ArchiveEntry(path="pool/updates/main/g/glibc/libc6_2.41-12_amd64.deb", sha256="b" * 64),
}
ORIGINS = {
    "official": "https://releases.example/1.zip, signed by somebody",
    "go-module": "a module, built with go1.26.8",
    "path": "path:/opt/mine",
}


@pytest.fixture
def inventory(platform: Platform, cache: Cache) -> Inventory:
    """The default inventory with the test's own cache, and a Nomad of the operator's."""
    return with_sources(platform.settings.model_copy(update={"cache": cache.root}), nomad="path:/opt/mine")


@pytest.fixture
def path(inventory: Inventory, cache: Cache, tmp_path: Path) -> Path:
    """A lock file as `up` writes it, with its programs in the cache: one from a path, one official, the rest built."""
    lock = LockFile(tmp_path / "tercet.lock.json")
    sources = {"nomad": "path", "consul-template": "official"}
    for component in components(inventory, "pgpool"):
        programs = {}
        for name in component.programs:
            file = tmp_path / name
            file.write_bytes(elf(salt=name.encode()))
            file.chmod(0o755)
            programs[name] = store.put(cache, name, file, host_arch())
        source = sources.get(component.name, "go-module")
        lock.choose(
            component.name,
            ComponentEntry(
                requested=component.requested(inventory),
                source=source,
                version=component.version(inventory),
                arch=host_arch(),
                origin=ORIGINS[source],
                programs=programs,
                when=WHEN,
                stamp=component.sources[source].stamp(tuple(programs)) if source in component.sources else "",
            ),
        )
    lock.settle_proxy(ProxyEntry(requested="auto", reason="pgpool-II, because", when=WHEN))
    debian = DebianEntry(definition=definition("trixie", host_arch()), packages=SHORT, archives=ARCHIVES, when=WHEN)
    lock.settle_debian(debian)
    return tmp_path / "tercet.lock.json"


def changed(path: Path, **update: object) -> Lock:
    """Write the lock again with other entries."""
    lock = LockFile(path)
    lock._save(lock.lock.model_copy(update=update))
    return lock.lock


def build(cache: Cache, lock: Lock, packages: dict[str, str]) -> Path:
    """The image of the lock in the cache, with these Debian packages."""
    programs = [each for entry in lock.components.values() for each in store.programs_of(cache, entry)]
    assert lock.debian
    tree = image_tree(cache, image_key(base_key(lock.debian), programs))
    for program in programs:
        install(tree, program)
    status = tree / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    for name, version in packages.items():
        package, _, arch = name.partition(":")
        with status.open("a") as file:
            file.write(
                f"Package: {package}\nStatus: install ok installed\nArchitecture: {arch}\nVersion: {version}\n\n"
            )
    (tree.parent / MANIFEST).touch()
    return tree


@pytest.fixture
def found(inventory: Inventory, path: Path, cache: Cache) -> Contents:
    build(cache, LockFile(path).lock, SHORT)
    return contents(inventory, path, host_arch())


def test_every_program_and_package_has_version_source_and_digest(found: Contents, inventory: Inventory) -> None:
    programs = {part.name: part for part in found.parts if part.kind is Kind.PROGRAM}
    assert programs.keys() == {"headscale", "tailscaled", "tailscale", "consul", "nomad", "consul-template"}
    consul = programs["consul"]
    assert consul.version == inventory.versions.consul  # type: ignore[attr-defined]
    assert consul.sha256 == sha256(elf(salt=b"consul")) and consul.source == ORIGINS["go-module"]
    assert consul.purl == f"pkg:golang/github.com/hashicorp/consul@v{consul.version}"
    assert consul.url == f"https://proxy.golang.org/github.com/hashicorp/consul/@v/v{consul.version}.zip"
    assert programs["tailscaled"].purl.startswith("pkg:golang/tailscale.com@v")
    template, nomad = programs["consul-template"], programs["nomad"]
    assert template.url == "https://releases.example/1.zip"
    assert template.purl.endswith("?download_url=https%3A%2F%2Freleases.example%2F1.zip")
    assert (nomad.purl, nomad.url) == (f"pkg:generic/nomad@{nomad.version}", "")
    adduser, libc = (part for part in found.parts if part.kind is Kind.DEBIAN)
    assert adduser.purl == "pkg:deb/debian/adduser@3.152?arch=all&distro=trixie" and adduser.sha256 == "a" * 64
    assert adduser.url == "http://deb.debian.org/debian/pool/main/a/adduser/adduser_3.152_all.deb"
    assert libc.url == "http://deb.debian.org/debian-security/pool/updates/main/g/glibc/libc6_2.41-12_amd64.deb"
    assert (found.problems, found.arch) == ((), host_arch())


def test_a_purl_keeps_the_colon_of_an_epoch_and_encodes_a_plus(inventory: Inventory, path: Path) -> None:
    debian = LockFile(path).lock.debian
    assert debian
    changed(path, debian=debian.model_copy(update={"packages": {"tar:amd64": "1:1.35+dfsg~3"}, "archives": {}}))
    (tar,) = [part for part in contents(inventory, path, host_arch()).parts if part.kind is Kind.DEBIAN]
    assert tar.purl == "pkg:deb/debian/tar@1:1.35%2Bdfsg~3?arch=amd64&distro=trixie"


def test_without_a_lock_file_there_is_nothing_to_list(inventory: Inventory, tmp_path: Path) -> None:
    with pytest.raises(TercetError, match=r"lock\.json, found no such file: `tercet up` makes it"):
        contents(inventory, tmp_path / "tercet.lock.json", host_arch())


def test_a_lock_file_without_debian_is_no_image(inventory: Inventory, path: Path) -> None:
    changed(path, debian=None)
    with pytest.raises(TercetError, match=r"expected the image's Debian packages .* found none: `tercet up` records"):
        contents(inventory, path, host_arch())


def test_a_lock_file_without_a_component_is_no_image(inventory: Inventory, path: Path) -> None:
    lock = LockFile(path).lock
    changed(path, components={name: entry for name, entry in lock.components.items() if name != "consul"})
    with pytest.raises(TercetError, match=r"found none of consul: `tercet up` records them"):
        contents(inventory, path, host_arch())


def test_pgcat_is_listed_if_it_is_the_proxy(inventory: Inventory, path: Path) -> None:
    changed(path, proxy=None)
    with pytest.raises(TercetError, match="found none of pgcat"):
        contents(inventory, path, host_arch())
    without = inventory.model_copy(update={"proxy": "pgpool"})
    assert contents(without, path, host_arch()).parts


def test_an_image_that_is_not_built_is_listed_but_not_compared(inventory: Inventory, path: Path) -> None:
    seen = contents(inventory, path, host_arch())
    assert len(seen.parts) == 8 and seen.problems == ()
    assert seen.notes == (
        f"The cache {inventory.cache} does not have this image, so it was not compared with the lock file.",
    )


def test_an_absent_cache_is_no_error(inventory: Inventory, path: Path, tmp_path: Path) -> None:
    elsewhere = inventory.model_copy(update={"cache": tmp_path / "none"})
    assert contents(elsewhere, path, host_arch()).problems == ()
    assert not (tmp_path / "none").exists()


def test_a_program_that_is_not_the_one_of_the_lock_is_a_problem(inventory: Inventory, path: Path, cache: Cache) -> None:
    lock = LockFile(path).lock
    tree = build(cache, lock, SHORT)
    consul = next(iter((tree / "opt/tercet/programs/consul").glob("*/consul")))
    consul.write_bytes(b"forged")
    nomad = next(iter((tree / "opt/tercet/programs/nomad").glob("*/nomad")))
    nomad.unlink()
    wanted = lock.components["consul"].programs["consul"].sha256
    assert contents(inventory, path, host_arch()).problems == (
        f"consul: expected the sha256 {wanted} of the lock file, found {sha256(b'forged')} in {consul}",
        f"nomad: expected {nomad}, found no such file",
    )


def test_packages_that_are_not_those_of_the_lock_are_problems(inventory: Inventory, path: Path, cache: Cache) -> None:
    build(cache, LockFile(path).lock, {"adduser:all": "3.151", "netcat:amd64": "1"})
    assert contents(inventory, path, host_arch()).problems == (
        "adduser:all: expected the version 3.152 of the lock file, found 3.151 in the image",
        "libc6:amd64: expected the version 2.41-12 of the lock file, found none in the image",
        "netcat:amd64: expected the version none of the lock file, found 1 in the image",
    )


def test_an_image_that_up_would_replace_is_still_the_one_that_is_listed(
    inventory: Inventory, path: Path, cache: Cache
) -> None:
    tree = build(cache, LockFile(path).lock, SHORT)
    versions = inventory.versions.model_copy(update={"consul": "1.99.0"})
    seen = contents(inventory.model_copy(update={"versions": versions}), path, host_arch())
    assert seen.key == tree.parent.name
    (note,) = seen.notes
    assert note.startswith("`tercet up` would make another image: inventory or tercet changed for consul.")


def test_a_lock_file_from_before_digests_says_so(inventory: Inventory, path: Path, cache: Cache) -> None:
    debian = LockFile(path).lock.debian
    assert debian
    lock = changed(path, debian=debian.model_copy(update={"archives": {}}))
    build(cache, lock, SHORT)
    seen = contents(inventory, path, host_arch())
    [note] = seen.notes
    assert note == "The lock file has no digests of Debian packages, because an older tercet built the base system."
    assert {part.sha256 for part in seen.parts if part.kind is Kind.DEBIAN} == {""}
