"""Where the outcome of `drill run` goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tercet.cli.commands import drill
from tercet.cli.main import main
from tercet.drills.scenario.file import built_in

from ..sample import Drill, judge


@pytest.fixture
def drilled(inventory_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that name a drill, which has happened before."""
    outcome = judge(Drill(seed=0).entries(), built_in()["site-killed"])

    async def repeat(*given: Any, **_: Any) -> None:
        given[-1].append(outcome)

    monkeypatch.setattr(drill, "_repeat", repeat)
    monkeypatch.setattr(drill, "with_progress", lambda _call, work: asyncio.run(work(None, None)))
    return ["-f", str(inventory_file), "drill", "run", "site-killed"]


def test_json_to_a_file_leaves_the_report_on_the_terminal(
    drilled: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*drilled, "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text())["drill"] == "site-killed"
    assert not capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize("everywhere", [True, False])
def test_json_without_a_file_is_all_of_standard_output(
    drilled: list[str], everywhere: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--json", *drilled] if everywhere else [*drilled, "--json"])
    assert json.loads(capsys.readouterr().out)["drill"] == "site-killed"
