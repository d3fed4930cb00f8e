from __future__ import annotations

import os
from pathlib import Path

import pytest

from tercet.converge.events import Event, silent
from tercet.errors import TercetError
from tercet.image import base
from tercet.image.base import (
    DISABLED,
    FILES,
    MASKED,
    Progress,
    base_key,
    definition,
    differences,
    ensure_base,
    finish,
    mirror,
    mmdebstrap,
    packages_of,
)
from tercet.image.cache import Cache
from tercet.image.elf import host_arch
from tercet.image.lock import DebianEntry, LockFile, read_lock

from .conftest import base_in

OUTPUT = """\
I: chroot architecture amd64 is equal to the host's architecture
I: running apt-get update...
Get:1 http://deb.debian.org/debian trixie InRelease [140 kB]
I: downloading packages with apt...
Need to get 30.1 MB of archives.
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.debian.org/debian trixie/main amd64 base-files amd64 13.8 [73 kB]
Get:2 http://deb.debian.org/debian trixie/main amd64 bash amd64 5.2 [1500 kB]
I: extracting archives...
I: installing essential packages...
I: installing remaining packages inside the chroot...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.debian.org/debian trixie/main amd64 jq amd64 1.7 [77 kB]
Get:2 http://deb.debian.org/debian trixie/main amd64 curl amd64 8.1 [77 kB]
Selecting previously unselected package jq.
Unpacking jq (1.7) ...
Unpacking curl (8.1) ...
Setting up jq (1.7) ...
Setting up curl (8.1) ...
I: cleaning package lists and apt cache...
I: success in 58.1996 seconds
"""


def test_progress_goes_forward_and_names_what_is_done(monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(1000))
    monkeypatch.setattr(base.time, "monotonic", lambda: float(next(clock)))  # each line takes a second
    events: list[Event] = []
    report = Progress(events.append, 0.0)
    for line in OUTPUT.splitlines():
        report(line)
    fractions = [event.fraction or 0.0 for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.97
    texts = [event.text for event in events]
    assert "base system: package lists" in texts
    assert "base system: installing packages 2 of 2" in texts


def definition_changes() -> list[tuple[str, object]]:
    return [
        ("PACKAGES", (*base.PACKAGES, "vim")),
        ("EXCLUDED", base.EXCLUDED[1:]),
        ("MASKED", base.MASKED[1:]),
        ("DISABLED", base.DISABLED[1:]),
        ("BEFORE", {}),
        ("FILES", {**base.FILES, "etc/motd": "hello"}),
        ("REMOVED", ()),
        ("DIRECTORIES", ()),
    ]


@pytest.mark.parametrize(("name", "value"), definition_changes())
def test_a_definition_has_everything_in_it(monkeypatch: pytest.MonkeyPatch, name: str, value: object):
    before = definition("trixie", "amd64")
    assert before == definition("trixie", "amd64")
    monkeypatch.setattr(base, name, value)
    assert definition("trixie", "amd64") != before


def test_a_definition_has_suite_and_architecture_but_no_mirror(monkeypatch: pytest.MonkeyPatch):
    keys = {definition("trixie", "amd64"), definition("trixie", "arm64"), definition("forky", "amd64")}
    assert len(keys) == 3
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", "http://mirror.example/debian")
    assert definition("trixie", "amd64") in keys


def test_the_mirror_serves_release_updates_and_security(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", "http://mirror.example/debian/")
    assert mirror() == "http://mirror.example/debian"
    argv = mmdebstrap("trixie", "arm64", tmp_path / "before", tmp_path / "rootfs", mirror())
    assert [word for word in argv if word.startswith("deb ")] == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/debian-security trixie-security main",
    ]
    assert "--architectures=arm64" in argv
    monkeypatch.delenv("TERCET_DEBIAN_MIRROR")
    assert mirror() == "http://deb.debian.org/debian"


def test_a_key_names_every_package_with_its_version():
    entry = DebianEntry(definition="d", packages={"jq:amd64": "1.7"}, when="then")
    assert base_key(entry) == base_key(entry.model_copy(update={"when": "now"}))
    others = ({"jq:amd64": "1.8"}, {"jq:amd64": "1.7", "bash:amd64": "5.2"}, {"jq:arm64": "1.7"})
    assert len({base_key(entry), *(base_key(entry.model_copy(update={"packages": each})) for each in others)}) == 4


STATUS = """\
Package: jq
Status: install ok installed
Architecture: amd64
Version: 1.7.1-6
Description: a program
 Version: 9 is what this says of itself
Conffiles:
 /etc/jq 0123

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


def test_packages_are_what_dpkg_has_installed(tmp_path: Path):
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(STATUS)
    assert packages_of(tmp_path) == {"bash:amd64": "5.2-1", "jq:amd64": "1.7.1-6"}


def test_differences_are_told_in_few_words():
    old = dict.fromkeys("abcdefgh", "1")
    assert differences(old, old) == ""
    assert differences({"a": "1", "b": "1"}, {"b": "2", "c": "1"}) == "a 1 → absent, b 1 → 2, c absent → 1"
    assert differences(old, {}).endswith("e 1 → absent and 3 more")


async def test_packages_that_cannot_be_had_any_more_are_told(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The lock of another machine, or of another day: what it names is in no cache."""
    lock = LockFile(tmp_path / "lock")
    lock.settle_debian(DebianEntry(definition=definition("trixie", host_arch()), packages={"jq": "1.7"}, when="then"))

    async def build(*_: object) -> DebianEntry:
        return base_in(cache, jq="1.8")

    monkeypatch.setattr(base, "_build", build)
    events: list[Event] = []
    entry = await ensure_base(cache, "trixie", host_arch(), lock, events.append)
    assert entry.packages == {"jq": "1.8"} and read_lock(tmp_path / "lock").debian == entry
    assert [event.text for event in events] == ["Debian has newer packages than the lock file: jq 1.7 → 1.8"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What of a Debian tree `finish` changes."""
    root = tmp_path / "rootfs"
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for unit in (*DISABLED, "networking.service"):
        (wants / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")
    (root / "etc/systemd/system/sshd.service").symlink_to("/usr/lib/systemd/system/ssh.service")  # an alias
    for name in ("etc/ssh/ssh_host_rsa_key", "etc/hostname", "var/log/dpkg.log", "etc/ssh/sshd_config"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "etc/resolv.conf").symlink_to("/etc/hostname-of-the-host")
    return root


def test_a_finished_tree_starts_nothing_of_debians_own(tree: Path):
    finish(tree)
    system = tree / "etc/systemd/system"
    assert [link.name for link in system.glob("*.wants/*")] == ["networking.service"]
    assert not os.path.lexists(system / "sshd.service")
    for unit in MASKED:
        assert (system / unit).readlink() == Path("/dev/null")
    for unit in DISABLED:  # tercet writes its own unit there: it must be no link
        assert not os.path.lexists(system / unit)


def test_a_finished_tree_is_nobodys_in_particular(tree: Path):
    finish(tree)
    assert (tree / "etc/machine-id").read_text() == ""
    assert not (tree / "etc/ssh/ssh_host_rsa_key").exists()
    assert (tree / "etc/ssh/sshd_config").exists()
    assert not (tree / "etc/hostname").exists()
    assert not (tree / "var/log/dpkg.log").exists()
    assert not (tree / "etc/resolv.conf").is_symlink()
    assert {name: (tree / name).read_text() for name in FILES} == FILES
    assert (tree / "opt/tercet/programs").is_dir()


def test_finishing_twice_is_finishing_once(tree: Path):
    finish(tree)
    before = sorted(tree.rglob("*"))
    finish(tree)
    assert sorted(tree.rglob("*")) == before


async def test_a_build_that_fails_leaves_nothing_behind(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "check_host", lambda: None)
    monkeypatch.setattr(
        base, "mmdebstrap", lambda *_, **__: ["sh", "-c", f"mkdir -p {cache.build}/x; echo E: no mirror; exit 25"]
    )
    with pytest.raises(TercetError, match=r"mmdebstrap left with status 25; its last output:\n  E: no mirror"):
        await ensure_base(cache, "trixie", "amd64", LockFile(tmp_path / "lock"), silent)
    assert not cache.images.exists()
    assert [path.name for path in cache.build.iterdir()] == ["x"]


async def test_a_host_that_cannot_build_is_told(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base.os, "geteuid", lambda: 1000)
    with pytest.raises(TercetError, match="needs root"):
        await ensure_base(cache, "trixie", "amd64", LockFile(tmp_path / "lock"), silent)
    monkeypatch.setattr(base.os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TercetError, match="apt-get install mmdebstrap"):
        await ensure_base(cache, "trixie", "amd64", LockFile(tmp_path / "lock"), silent)
