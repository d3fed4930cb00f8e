"""init, validate and schema, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.inventory.default import default_text
from tercet.inventory.schema import schema


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_valid_inventory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    assert (here / "tercet.yml").read_text() == default_text()
    assert "tercet up\n" in capsys.readouterr().out
    assert main(["validate"]) == 0
    assert capsys.readouterr().out == (
        "tercet.yml is valid: platform tercet, 9 nodes at sib-01, sib-03, fsn-01, provider lab.\n"
    )


def test_init_overwrites_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "tercet.yml").write_text("mine")
    assert main(["init"]) == 1
    assert (here / "tercet.yml").read_text() == "mine"
    assert "it was not changed" in capsys.readouterr().err


def test_init_elsewhere_says_how_to_go_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "-f", "staging.yml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "staging.yml"}
    assert main(["init", "-f", "other.yml"]) == 0
    assert "tercet up -f other.yml" in capsys.readouterr().out
    assert main(["init", "-f", str(here)]) == 1
    assert f"such as -f {here}/tercet.yml" in capsys.readouterr().err
    assert main(["init", "-f", str(here / "none" / "tercet.yml")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_validate_prints_every_problem_with_its_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = default_text().replace("platform: tercet", "platfrom: tercet").replace("datacenter: dc2", "datacenter: dc1")
    (here / "tercet.yml").write_text(text)
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines, 1) if line.startswith("platfrom"))
    second = [i for i, line in enumerate(lines, 1) if "datacenter: dc1" in line][1]
    assert main(["validate"]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "tercet: 2 problems in tercet.yml:"
    assert shown[1].startswith(f"tercet.yml:{first}:1: platfrom: expected one of the keys platform, ")
    assert shown[3].startswith(f"tercet.yml:{second}:17: sites[1].datacenter: expected ")


def test_validate_json_is_for_programs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "tercet.yml").write_text(default_text())
    assert main(["--json", "validate"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "tercet.yml", "valid": True, "problems": []}
    (here / "tercet.yml").write_text(default_text().replace("provider: lab", "provider: moon"))
    assert main(["validate", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert not shown["valid"]
    assert shown["problems"] == [
        {
            "line": 15,
            "column": 11,
            "where": "provider",
            "expected": "lab or proxmox",
            "found": '"moon"',
            "write": "provider: lab (the default)",
        }
    ]


def test_validate_json_says_that_there_is_no_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["valid"], shown["problems"][0]["found"]) == (False, "no such file")


def test_schema_needs_no_inventory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
