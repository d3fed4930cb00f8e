from __future__ import annotations

from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.image.elf import host_arch
from tercet.image.sources.path import LocalPath
from tercet.image.sources.source import Wanted, Workshop

from .conftest import elf

BOTH = ("tailscaled", "tailscale")


def wanted(*programs: str) -> Wanted:
    return Wanted("thing", "1.0", host_arch(), programs)


def program(path: Path, content: bytes | None = None) -> Path:
    path.write_bytes(elf() if content is None else content)
    path.chmod(0o755)
    return path


async def test_a_file_serves_a_component_of_one_program(tmp_path: Path, workshop: Workshop):
    file = program(tmp_path / "consul-1.22-own-build")
    fetched = await LocalPath(file).fetch(wanted("consul"), workshop)
    assert fetched.files["consul"].read_bytes() == elf()
    assert fetched.origin == f"path:{file}"


async def test_a_folder_serves_all_its_programs(tmp_path: Path, workshop: Workshop):
    for name in BOTH:
        program(tmp_path / name, elf(salt=name.encode()))
    fetched = await LocalPath(tmp_path).fetch(wanted(*BOTH), workshop)
    assert {name: file.read_bytes() for name, file in fetched.files.items()} == {
        name: elf(salt=name.encode()) for name in BOTH
    }


@pytest.mark.parametrize(
    ("prepare", "programs", "complaint"),
    [
        (lambda _: None, ("consul",), "there is nothing there"),
        (program, BOTH, "is one file, but tailscaled and tailscale are needed"),
        (lambda path: path.mkdir() or program(path / "tailscale"), BOTH, "has no tailscaled"),
        (lambda path: path.mkdir(), ("consul",), "has no consul"),
        (lambda path: program(path, b"#!/bin/sh"), ("consul",), "no ELF header"),
    ],
)
async def test_what_does_not_fit_is_said(tmp_path: Path, workshop: Workshop, prepare, programs, complaint):
    path = tmp_path / "given"
    prepare(path)
    with pytest.raises(TercetError, match=complaint):
        await LocalPath(path).fetch(wanted(*programs), workshop)


def test_the_stamp_changes_with_the_file_and_is_empty_without_it(tmp_path: Path):
    file = program(tmp_path / "consul")
    before = LocalPath(file).stamp(("consul",))
    assert before == LocalPath(file).stamp(("consul",)) != ""
    program(file, elf(salt=b"new"))
    assert LocalPath(file).stamp(("consul",)) != before
    file.unlink()
    assert LocalPath(file).stamp(("consul",)) == ""
