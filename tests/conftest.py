"""What every test may use: the default inventory as a file, its platform, and that platform opened."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from tercet.inventory.default import default_text
from tercet.inventory.load import load
from tercet.inventory.platform import Platform
from tercet.inventory.sealing import VARIABLE
from tercet.session.session import Session, open_session


def pytest_configure() -> None:
    # What a shell starts with & ignores Ctrl-C, and so would all that these tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The private key that opens the secrets of all platforms of these tests, not the one of who runs them."""
    path = tmp_path_factory.mktemp("operator") / "identity"
    path.write_text(f"{x25519.Identity.generate()}\n")
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(path))
        yield path


@pytest.fixture
def inventory_file(tmp_path: Path) -> Path:
    """A file with the default inventory, in a folder of its own."""
    path = tmp_path / "tercet.yml"
    path.write_text(default_text(), encoding="utf-8")
    return path


@pytest.fixture
def platform(inventory_file: Path) -> Platform:
    """The platform of the default inventory."""
    return load(inventory_file)


@pytest.fixture
async def opened(inventory_file: Path) -> AsyncIterator[Session]:
    """The platform of the default inventory, opened."""
    async with open_session(inventory_file) as session:
        yield session
