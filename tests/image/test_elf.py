from __future__ import annotations

from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.image.elf import Arch, check_program

from .conftest import elf


def written(folder: Path, content: bytes, mode: int = 0o755) -> Path:
    path = folder / "program"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("kind", [2, 3])
def test_a_program_of_the_right_kind_passes(tmp_path: Path, arch: Arch, kind: int):
    check_program(written(tmp_path, elf(arch, kind=kind)), arch)


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (elf("arm64"), 0o755, "is built for arm64; this image needs amd64"),
        (elf("riscv64"), 0o755, "is built for machine 0xf3; this image needs amd64"),
        (elf("amd64", kind=1), 0o755, "not a program"),  # an object file
        (elf("amd64"), 0o644, "not executable"),
        (b"#!/bin/sh\nexec consul\n", 0o755, "no ELF header"),
        (b"\x7fELF", 0o755, "no ELF header"),
        (b"", 0o755, "no ELF header"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, content: bytes, mode: int, complaint: str):
    path = written(tmp_path, content, mode)
    with pytest.raises(TercetError, match=complaint) as caught:
        check_program(path, "amd64")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(TercetError, match="No such file"):
        check_program(tmp_path / "nothing", "amd64")
