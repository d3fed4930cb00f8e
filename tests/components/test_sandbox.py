"""Every unit is in the table of docs/units.md, with its user and what its sandbox lets it do."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.components.registry import components
from tercet.components.systemd import unit_path
from tercet.converge.resources import File

DOCUMENT = Path(__file__).parents[2] / "docs" / "units.md"
SERVICE = re.compile(re.escape(unit_path("")) + r"(.+\.service)")


def units(context: Context) -> dict[str, set[str]]:
    """The texts of every service of tercet, by name; on most nodes they are the same."""
    found = dict[str, set[str]]()
    for proxy in ("pgcat", "pgpool"):
        chosen = dataclasses.replace(context, proxy=proxy)
        for component in components(chosen):
            for node in context.platform.containers:
                for resource in component.desired(node):
                    if isinstance(resource, File) and (match := SERVICE.fullmatch(resource.path)):
                        assert isinstance(resource.content, bytes)
                        found.setdefault(match[1], set()).add(resource.content.decode())
    return found


def told() -> dict[str, list[tuple[str, str, str]]]:
    """The rows of the table by unit: user, capabilities, file system."""
    rows = re.findall(r"^\| `(\S+)`.*?\| (\S+) \| (.+?) \| (.+?) \|", DOCUMENT.read_text(encoding="utf-8"), re.M)
    found = dict[str, list[tuple[str, str, str]]]()
    for unit, user, capabilities, files in rows:
        found.setdefault(f"{unit}.service", []).append((user, capabilities, files))
    return found


def shown(text: str) -> tuple[str, str, str]:
    """What the table must say of a unit."""
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    user = lines.get("User", "root")
    if "NoNewPrivileges" not in lines:
        return user, "all", "all"
    capabilities = " ".join(each.removeprefix("CAP_") for each in lines["CapabilityBoundingSet"].split())
    return user, capabilities or "none", "its own" if lines.get("ProtectSystem") == "strict" else "all"


def test_the_table_tells_of_every_unit(context: Context) -> None:
    assert sorted(units(context)) == sorted(told())


def test_the_table_is_true(context: Context) -> None:
    rows = told()
    for unit, texts in units(context).items():
        assert {shown(text) for text in texts} == set(rows[unit]), unit


@pytest.mark.parametrize("line", ["SystemCallFilter=@system-service", "NoNewPrivileges=yes", "RestrictNamespaces=yes"])
def test_only_nomads_clients_are_without_a_sandbox(context: Context, line: str) -> None:
    without = {unit for unit, texts in units(context).items() if any(line not in text for text in texts)}
    assert without == {"nomad.service"}
