from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.image.cache import write_atomically
from tercet.image.lock import ComponentEntry, LockFile, ProgramEntry, ProxyEntry, read_lock

ENTRY = ComponentEntry(
    requested="auto",
    source="official",
    version="1.22.7",
    arch="amd64",
    origin="https://releases.example/consul.zip",
    programs={"consul": ProgramEntry(sha256="a" * 64, size=5)},
    when="2026-01-01T00:00:00+00:00",
)
PROXY = ProxyEntry(requested="auto", reason="pgpool-II, because", when="2026-01-01T00:00:00+00:00")


def test_no_file_is_an_empty_lock(tmp_path: Path):
    assert read_lock(tmp_path / "tercet.lock.json").components == {}


def test_every_choice_is_on_disk_at_once(tmp_path: Path):
    path = tmp_path / "tercet.lock.json"
    lock = LockFile(path)
    lock.choose("nomad", ENTRY)
    assert read_lock(path).components == {"nomad": ENTRY}
    lock.choose("consul", ENTRY)
    lock.settle_proxy(PROXY)
    assert read_lock(path) == lock.lock
    assert list(json.loads(path.read_text())["components"]) == ["consul", "nomad"]  # in order: a diff stays small
    lock.settle_proxy(None)
    assert read_lock(path).proxy is None
    assert [file.name for file in tmp_path.iterdir()] == ["tercet.lock.json"]


@pytest.mark.parametrize(
    "content", ["", "{", '{"format": 2}', '{"format": 1, "componets": {}}', '{"components": {"a": 1}}']
)
def test_a_lock_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: str):
    path = tmp_path / "tercet.lock.json"
    path.write_text(content)
    with pytest.raises(TercetError, match=r"restore it, or remove it") as caught:
        read_lock(path)
    assert str(path) in str(caught.value)
    assert "pydantic" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(TercetError, match=r"expected to write .*/file/lock\.json, found .*: make room there, or make"):
        write_atomically(tmp_path / "file" / "lock.json", "x")


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path):
    path = tmp_path / "tercet.lock.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["tercet.lock.json"]
