"""The digests of Debian's packages: read from apt's lists, kept in the lock, compared with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tercet.converge.events import silent
from tercet.errors import TercetError
from tercet.image import base
from tercet.image.archives import archives_of, check_same
from tercet.image.base import definition, ensure_base, mmdebstrap, security
from tercet.image.cache import Cache
from tercet.image.elf import host_arch
from tercet.image.lock import ArchiveEntry, DebianEntry, LockFile, read_lock

from .conftest import base_in

MAIN = f"""\
Package: jq
Version: 1.7.1-6
Architecture: amd64
Description: a program
 Version: 9 is what this says of itself
Filename: pool/main/j/jq/jq_1.7.1-6_amd64.deb
SHA256: {"a" * 64}

Package: adduser
Version: 3.152
Architecture: all
Filename: pool/main/a/adduser/adduser_3.152_all.deb
SHA256: {"b" * 64}
"""
SECURITY = f"""\
Package: jq
Version: 1.7.1-6+deb13u1
Architecture: amd64
Filename: pool/updates/main/j/jq/jq_1.7.1-6+deb13u1_amd64.deb
SHA256: {"c" * 64}

"""
PACKAGES = {"adduser:all": "3.152", "jq:amd64": "1.7.1-6+deb13u1"}
ARCHIVES = {
    "adduser:all": ArchiveEntry(path="pool/main/a/adduser/adduser_3.152_all.deb", sha256="b" * 64),
    "jq:amd64": ArchiveEntry(path="pool/updates/main/j/jq/jq_1.7.1-6+deb13u1_amd64.deb", sha256="c" * 64),
}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "mirror_debian_dists_trixie_main_binary-amd64_Packages").write_text(MAIN)
    (folder / "mirror_debian-security_dists_trixie-security_main_binary-amd64_Packages").write_text(SECURITY)
    (folder / "mirror_debian_dists_trixie_InRelease").write_text("Package: none\n")
    return folder


def test_a_package_has_the_digest_of_its_version(lists: Path) -> None:
    assert archives_of(PACKAGES, lists) == ARCHIVES


def test_a_package_that_no_list_has_is_refused(lists: Path) -> None:
    with pytest.raises(TercetError, match=r"found none of gone:amd64, jq:amd64: the mirror changed meanwhile"):
        archives_of({**PACKAGES, "jq:amd64": "1.8", "gone:amd64": "1"}, lists)


def entry(**update: object) -> DebianEntry:
    made = DebianEntry(definition="d", packages=PACKAGES, archives=ARCHIVES, when="then")
    return made.model_copy(update=update)


def test_the_same_version_with_another_content_is_refused() -> None:
    forged = {**ARCHIVES, "jq:amd64": ArchiveEntry(path="pool/jq.deb", sha256="f" * 64)}
    with pytest.raises(TercetError, match=rf"jq:amd64 1\.7\S+ should have the sha256 {'c' * 64} that the lock file"):
        check_same(entry(), entry(archives=forged))
    check_same(entry(), entry(archives=forged, packages={**PACKAGES, "jq:amd64": "1.8"}))  # another version
    check_same(entry(archives={}), entry(archives=forged))  # from before digests were recorded
    check_same(None, entry(archives=forged))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """mmdebstrap makes a tree of two packages and runs the hook on it."""
    script = tmp_path / "mmdebstrap"
    script.write_text(
        f"""#!/bin/sh
        set -eu
        rootfs=$1 hook=${{2#--customize-hook=}}
        mkdir -p "$rootfs/var/lib/apt/lists" "$rootfs/var/lib/dpkg" "$rootfs/etc/systemd/system"
        cat > "$rootfs/var/lib/apt/lists/mirror_main_Packages" <<'END'\n{MAIN}\n{SECURITY}\nEND
        cat > "$rootfs/var/lib/dpkg/status" <<'END'
Package: jq
Status: install ok installed
Architecture: amd64
Version: 1.7.1-6+deb13u1
END
        sh -c "$hook" exec "$rootfs"
        rm "$rootfs"/var/lib/apt/lists/*
        """
    )
    script.chmod(0o755)
    monkeypatch.setattr(base, "check_host", lambda: None)
    monkeypatch.setattr(base, "mmdebstrap", lambda _suite, _arch, _before, rootfs, mirror: [str(script), str(rootfs)])


@pytest.mark.usefixtures("built")
async def test_a_new_base_system_records_digests_in_the_lock(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "definition", lambda *_: "d")
    path = tmp_path / "tercet.lock.json"
    found = await ensure_base(cache, "trixie", host_arch(), LockFile(path), silent)
    assert found.archives == {"jq:amd64": ARCHIVES["jq:amd64"]}
    assert read_lock(path).debian == found
    assert await ensure_base(cache, "trixie", host_arch(), LockFile(path), silent) == found


@pytest.mark.usefixtures("built")
async def test_a_forged_package_gets_into_no_cache(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the definition changed since, and the base system is built anew for that reason."""
    monkeypatch.setattr(base, "definition", lambda *_: "d")
    lock = LockFile(tmp_path / "tercet.lock.json")
    pinned = {"jq:amd64": ArchiveEntry(path="pool/jq.deb", sha256="0" * 64)}
    lock.settle_debian(entry(definition="older", archives=pinned))
    with pytest.raises(TercetError, match="Debian never changes a version"):
        await ensure_base(cache, "trixie", host_arch(), lock, silent)
    assert not cache.images.exists()


def test_a_mirror_of_a_date_has_its_security_updates_of_that_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert security("http://mirror.example/debian") == "http://mirror.example/debian-security"
    dated = "http://snapshot.example/archive/debian/20261129T000000Z"
    assert security(dated) == "http://snapshot.example/archive/debian-security/20261129T000000Z"
    assert not [word for word in base._keeping(Path("lists")) if "Check-Valid-Until" in word]
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", dated)
    assert [word for word in base._keeping(Path("lists")) if "Check-Valid-Until" in word]
    assert f"deb {security(dated)} trixie-security main" in mmdebstrap("trixie", "amd64", Path(), Path(), dated)


async def test_a_mirror_of_a_date_must_have_the_packages_of_the_lock(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = LockFile(tmp_path / "lock")
    lock.settle_debian(entry(definition=definition("trixie", host_arch()), packages={"jq": "1.7"}, archives={}))

    async def build(*_: object) -> DebianEntry:
        return base_in(cache, jq="1.8")

    monkeypatch.setattr(base, "_build", build)
    monkeypatch.setenv("TERCET_DEBIAN_MIRROR", "http://snapshot.example/archive/debian/20261129T000000Z")
    with pytest.raises(TercetError, match=r"found jq 1\.7 → 1\.8: use the mirror of another date"):
        await ensure_base(cache, "trixie", host_arch(), lock, silent)
    assert read_lock(tmp_path / "lock").debian == lock.lock.debian
