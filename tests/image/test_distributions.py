"""The Python packages that tercet uses, in the environment in which the tests run."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from tercet.image.distributions import PYPI, UV_LOCK, distributions
from tercet.image.parts import Kind


def test_everything_that_tercet_requires_is_listed_and_nothing_else() -> None:
    found = {part.name: part for part in distributions()}
    assert {"click", "pydantic", "pydantic-core", "httpx", "h11", "pyyaml"} <= found.keys()
    assert not found.keys() & {"tercet", "pytest", "ruff", "mypy", "hatchling"}, "the developers' tools are no part"
    assert list(found) == sorted(found)
    for part in found.values():
        assert part.kind is Kind.PYTHON
        assert part.version == version(part.name) and part.purl == f"pkg:pypi/{part.name}@{part.version}"


def test_each_has_the_wheel_of_the_lock_with_its_digest() -> None:
    for part in distributions():
        assert re.fullmatch(r"[0-9a-f]{64}", part.sha256), part
        assert f'url = "{part.url}", hash = "sha256:{part.sha256}"' in UV_LOCK.read_text(encoding="utf-8")


def test_without_a_lock_or_with_another_version_no_digest_is_invented(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    for text in (None, '[[package]]\nname = "click"\nversion = "0.1"\nwheels = []\n'):
        if text:
            lock.write_text(text)
        assert {(part.sha256, part.url, part.source) for part in distributions(lock)} == {("", "", PYPI)}
