"""`tercet drill soak`: what it refuses, what it tells, and that nothing hides what ended it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tercet.cli import drill_soak
from tercet.cli.invocation import Invocation
from tercet.cli.main import main
from tercet.drills.scenario.model import fault_of
from tercet.drills.soak import run as soaking
from tercet.drills.soak.run import Soak
from tercet.drills.soak.summary import Round
from tercet.errors import TercetError
from tercet.operations.support import bundle


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "expected a number from 1 to 1000000, found 0"),
        (["--for", "2"], "expected a time up to 24h, such as 90s, 30m or 2h, found 2"),
        (["--for", "25h"], "expected a time up to 24h"),
        (["--kinds", "loss,rain"], "expected kinds of kill, freeze, cut_off"),
        (["--rounds", "3", "--for", "2h"], "Expected one of --rounds, --for and --round"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "soak", *words]) != 0
    assert said in capsys.readouterr().err


def round_(number: int, *reasons: str, lost: int = 0) -> Round:
    return Round(number, (fault_of(kill="a standby"),), True, 30.0, 1.5, 8.0, 300, lost, 0, reasons)


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A soak whose outcome is set: its rounds, and the error that ends it."""
    outcome: dict[str, Any] = {"rounds": [round_(1), round_(2)], "error": None, "bundles": []}

    async def run(self: Soak, who: str) -> None:
        self.rounds += outcome["rounds"]
        self.audited = True
        if any(not one.passed for one in self.rounds):
            self.kept = tmp_path / "soak-7-2.jsonl"
        if outcome["error"]:
            raise outcome["error"]

    async def kinds_of(stage: object, wanted: object) -> tuple[str, ...]:
        return ("kill", "loss")

    async def write_bundle(session: object, path: Path, emit: object) -> tuple[str, ...]:
        outcome["bundles"].append(path.name)
        return ()

    def with_progress(call: Invocation, work: Any) -> None:
        import asyncio

        session = SimpleNamespace(platform=SimpleNamespace(name="t"), provider=None, context=None, components=())
        asyncio.run(work(session, lambda _event: None))

    monkeypatch.setattr(Soak, "run", run)
    monkeypatch.setattr(soaking, "kinds_of", kinds_of)
    monkeypatch.setattr(bundle, "write_bundle", write_bundle)
    monkeypatch.setattr(drill_soak, "with_progress", with_progress)
    return outcome


def call(tmp_path: Path, *words: str, rounds: int = 2) -> int:
    return main(
        ["drill", "soak", "--rounds", str(rounds), "--seed", "7", "--journals", str(tmp_path), "--no-color", *words]
    )


def test_a_soak_that_held_says_so_and_how_to_repeat_it(
    soak: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "--json", str(tmp_path / "soak.json")) == 0
    out = capsys.readouterr().out
    assert "2 of 2 rounds, 600 writes acknowledged, 0 lost" in out
    assert "tercet drill soak --seed 7 --kinds kill,loss --rounds 2" in out
    data = json.loads((tmp_path / "soak.json").read_text())
    assert data["passed"] is True
    assert data["kinds"]["kill"] == {"rounds": 2, "worst_gap_s": 1.5, "worst_back_to_health_s": 8.0, "lost": 0}
    assert soak["bundles"] == []


def test_a_broken_promise_comes_with_journal_bundle_and_the_way_to_repeat_it(
    soak: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soak["rounds"] = [round_(1), round_(2, "3 acknowledged writes lost", lost=3)]
    assert call(tmp_path) == 1
    out = capsys.readouterr().out
    assert "Round 2 broke a promise: kill a standby 20 s" in out and "  3 acknowledged writes lost" in out
    assert "--seed 7 --kinds kill,loss --round 2" in out
    assert soak["bundles"] == ["soak-7-2.support.tar.gz"]


def test_an_error_ends_it_with_what_was_found_until_then(
    soak: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soak["error"] = TercetError("the primary is gone")
    assert call(tmp_path) == 1
    said = capsys.readouterr()
    assert "2 of 2 rounds" in said.out
    assert said.err == "tercet: the primary is gone\n"
    assert soak["bundles"] == ["soak-7.support.tar.gz"]


def test_fewer_rounds_than_asked_for_are_no_success(soak: dict[str, Any], tmp_path: Path) -> None:
    assert call(tmp_path, rounds=3) == 1
