"""The platform of the test's inventory, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tercet.session.session import Session, open_session


@pytest.fixture
async def opened(inventory_file: Path) -> AsyncIterator[Session]:
    """As it is when the test begins."""
    async with open_session(inventory_file) as session:
        yield session
