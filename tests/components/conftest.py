from __future__ import annotations

from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.converge.resources import Program
from tercet.image import catalog
from tercet.inventory.platform import Platform
from tercet.inventory.secrets import Secrets, names
from tercet.inventory.timing import timing_of

NAMES = tuple(program for component in catalog.every() for program in component.programs)


@pytest.fixture
def context(platform: Platform) -> Context:
    """A context whose secrets are their own names, so that a golden file shows where each one ends up."""
    secrets = Secrets({name: f"<{name}>" for name in names()})
    programs = tuple(Program(name, "1.0", "0" * 64, Path("/cache") / name) for name in NAMES)
    return Context(platform, secrets, timing_of(platform.settings), programs, "pgpool")
