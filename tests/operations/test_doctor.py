"""`tercet doctor` on Proxmox: the image is made on the operator's machine, so that is looked at, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tercet.image.build import Image
from tercet.operations.doctor import examine
from tercet.providers.preflight import Check, ok
from tercet.providers.proxmox.provider import ProxmoxProvider
from tercet.session.session import Session


class Sound(ProxmoxProvider):
    """Servers of which nothing is to be said."""

    def __init__(self) -> None:
        pass

    async def preflight(self) -> tuple[Check, ...]:
        return (ok("sib-01", "API"),)


async def titles(image: Image | None, state: str) -> list[str]:
    platform = SimpleNamespace(settings=SimpleNamespace(provider="proxmox"), of=lambda _role: ["world"])
    checks = await examine(cast(Session, SimpleNamespace(platform=platform, provider=Sound(), image=image)))
    return [check.title for check in checks if check.state == state]


async def test_an_image_that_is_still_to_be_made_needs_root_and_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == "mmdebstrap" else f"/usr/bin/{name}")
    assert await titles(None, "failed") == ["root", "mmdebstrap"]
    assert await titles(None, "ok") == ["zstd", "API"]


async def test_an_image_that_is_packed_needs_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    image = Image("0123456789abcdef", tmp_path / "rootfs", (), "pgpool", "")
    assert "root" in await titles(image, "failed")
    image.archive.touch()
    assert await titles(image, "failed") == []
