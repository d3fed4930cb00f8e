"""Three Proxmox servers on loopback, one a site, and a provider for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tercet.image.build import Image
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.providers.proxmox.provider import ProxmoxProvider
from tests.proxmox.fakehost import SECRET, TOKEN, FakeHost, Pretend

SITES = ("sib-01", "sib-03", "fsn-01")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, FakeHost]]:
    """The servers by site; the node of site sib-01 is called pve-sib-01."""
    made = {name: FakeHost(tmp_path / name, f"pve-{name}", Pretend()) for name in SITES}
    try:
        for host in made.values():
            host.__enter__()
        yield made
    finally:
        for host in made.values():
            host.__exit__()


@pytest.fixture
def inventory(tmp_path: Path, hosts: dict[str, FakeHost], monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The inventory as data, for tests to change before `platform` is made of it."""
    monkeypatch.setenv("PVE_SECRET", SECRET)
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    size = {"cores": 1, "memory": "512M", "disk": "4G"}
    return {
        "platform": "t-pve",
        "provider": "proxmox",
        "tailnet": {"auth_key": "env:TS_AUTHKEY"},
        "proxmox": {
            "login": TOKEN,
            "secret": "env:PVE_SECRET",
            "sizes": {role: dict(size) for role in ("consul_nomad", "apps", "db")},
        },
        "sites": [
            {
                "name": name,
                "datacenter": f"dc{n}",
                "database": "primary" if n == 1 else "standby",
                "proxmox": host.site(),
            }
            for n, (name, host) in enumerate(hosts.items(), start=1)
        ],
    }


@pytest.fixture
def read(tmp_path: Path, inventory: dict[str, object]) -> Callable[[], Platform]:
    """The platform of the inventory as it is now."""

    def platform() -> Platform:
        path = tmp_path / "tercet.yml"
        path.write_text(yaml.safe_dump(inventory))
        return load(path)

    return platform


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """A root filesystem that is small enough to be packed in a moment."""
    rootfs = tmp_path / "images" / "0123456789abcdef" / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "etc/debian_version").write_text("13.1\n")
    return Image("0123456789abcdef", rootfs, (), "pgpool", "in a test")


@pytest.fixture
async def provider(
    tmp_path: Path, read: Callable[[], Platform], image: Image
) -> AsyncIterator[Callable[[], ProxmoxProvider]]:
    """Makes a provider of the inventory as it is now; all are closed at the end."""
    made: list[ProxmoxProvider] = []

    def make() -> ProxmoxProvider:
        made.append(ProxmoxProvider(read(), image, tmp_path / "known_hosts"))
        return made[-1]

    yield make
    await asyncio.gather(*(each.close() for each in made))
