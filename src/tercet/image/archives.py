"""Reads Debian's lists of packages, as apt keeps them: the file of each package, with its sha256.

apt has verified a list's digest and the signature over that digest before it keeps the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tercet.errors import TercetError
from tercet.image.lock import ArchiveEntry, DebianEntry

FIELDS = ("Package", "Architecture", "Version", "Filename", "SHA256")
LISTS = "*_Packages"  # apt's files of these, in var/lib/apt/lists
ORIGIN = "http://deb.debian.org"  # where Debian publishes its packages; a mirror has the same paths


def listed(folder: Path) -> Iterator[dict[str, str]]:
    """FIELDS of every package in the lists of the folder, list by list."""
    for path in sorted(folder.glob(LISTS)):
        with path.open(encoding="utf-8") as lines:
            yield from _paragraphs(lines)


def _paragraphs(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if colon and name in FIELDS:
            found[name] = value.rstrip("\n")
        elif line == "\n" and found:
            yield found
            found = {}
    if found:
        yield found


def name_of(package: Mapping[str, str]) -> str:
    """A package's name in the lock file, such as jq:amd64."""
    return f"{package['Package']}:{package['Architecture']}"


def archives_of(packages: Mapping[str, str], folder: Path) -> dict[str, ArchiveEntry]:
    """The file of each package, given with its version. Raises TercetError for one that no list in the folder has."""
    found: dict[str, ArchiveEntry] = {}
    for each in listed(folder):
        name = name_of(each)
        if packages.get(name) == each["Version"]:
            found.setdefault(name, ArchiveEntry(path=each["Filename"], sha256=each["SHA256"]))
    if missing := sorted(packages.keys() - found.keys()):
        raise TercetError(
            f"expected the file of every installed package in Debian's lists, found none of {', '.join(missing[:5])}: "
            "the mirror changed meanwhile; run again"
        )
    return dict(sorted(found.items()))


def url_of(archive: ArchiveEntry) -> str:
    """Where Debian publishes the file. Security updates are in an archive of their own."""
    folder = "debian-security" if archive.path.startswith("pool/updates/") else "debian"
    return f"{ORIGIN}/{folder}/{archive.path}"


def check_same(known: DebianEntry | None, found: DebianEntry) -> None:
    """Raise TercetError if a package has the version of the lock file, but another content."""
    if known is None:
        return
    for name, archive in found.archives.items():
        pinned = known.archives.get(name)
        if pinned is None or known.packages.get(name) != found.packages[name]:
            continue
        if archive.sha256 != pinned.sha256:
            raise TercetError(
                f"{name} {found.packages[name]} should have the sha256 {pinned.sha256} that the lock file pins, but "
                f"{archive.path} of the mirror has {archive.sha256}. Debian never changes a "
                'version: do not use this mirror, find out why, then remove "debian" from the lock file to accept it'
            )
