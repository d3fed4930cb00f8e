"""No daemon reads the wall clock, which someone may set while it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tercet import nodeside

DAEMONS = ("guard", "routes", "strict", "placement", "wake", "watchdog", "room", "rejoin", "paths", "host", "tailnet")


@pytest.mark.parametrize("name", DAEMONS)
def test_only_the_monotonic_clock_is_read(name: str) -> None:
    tree = ast.parse(Path(nodeside.__path__[0], f"{name}.py").read_text())
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time"
    }
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    }
    assert used <= {"monotonic", "sleep"}
    assert "datetime" not in imported
