"""`drill report`: a saved journal is judged again by itself; one that is not whole is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tercet.cli.main import main
from tercet.drills import journal
from tercet.drills.expect import ExpectModel
from tercet.drills.judge.verdict import result
from tercet.inventory.model import BudgetsModel
from tests.drills.sample import Drill

NAME = "site-killed"


@pytest.fixture(autouse=True)
def _no_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def told() -> tuple[journal.AnyEntry, ...]:
    return tuple(Drill().entries())


def saved(name: str = "j.jsonl", entries: Sequence[journal.AnyEntry] = (), **began: object) -> Path:
    """A journal in the folder, with its verdict; `began` is what its first line says otherwise."""
    entries = [
        entry.model_copy(update=began) if isinstance(entry, journal.Began) else entry for entry in entries or told()
    ]
    with journal.Journal(Path(name)) as book:
        for entry in [*entries, result(entries).verdict]:
            book.append(entry)
    return Path(name)


def test_the_verdict_is_that_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = saved("good.jsonl"), saved("bad.jsonl", budgets=BudgetsModel(site_loss=2))
    assert main(["drill", "report", str(good)]) == 0
    assert "PASSED" in capsys.readouterr().out
    assert main(["drill", "report", str(bad)]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "budget 2 s" in out


def test_several_runs_go_to_files(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(saved(f"{number}.jsonl", Drill(seed=number).entries())) for number in range(3)]
    assert main(["drill", "report", *paths, "--json", "out.json", "--report", "out.html"]) == 0
    data = json.loads(Path("out.json").read_text())
    assert (data["drill"], data["runs_asked"], len(data["runs"])) == (NAME, 3, 3)
    assert "All runs" in Path("out.html").read_text()
    assert "3 runs: median" in capsys.readouterr().out
    assert main(["drill", "report", paths[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_a_torn_last_line_is_told_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    path = saved()
    whole = path.read_bytes()
    lines = len(whole.splitlines())
    path.write_bytes(whole[:-9])
    assert main(["drill", "report", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"j.jsonl:{lines}: the last line is incomplete and left out")
    assert "PASSED" in said.out


def test_a_drill_that_was_cut_short_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    path = saved()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1000]) + lines[1000][:9])
    assert main(["drill", "report", str(path)]) == 1
    torn, error = capsys.readouterr().err.splitlines()
    assert torn.startswith("j.jsonl:1001: ")
    assert error.startswith("tercet: j.jsonl: expected a journal with the tables at its end, found that it ends after")
    path.write_bytes(b"")
    assert main(["drill", "report", str(path)]) == 1
    assert "found nothing at all" in capsys.readouterr().err


def test_a_broken_line_is_refused_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    path = saved()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:41], b"{}\n", *lines[42:]]))
    assert main(["drill", "report", str(path)]) == 1
    assert "j.jsonl, line 42: expected an entry of docs/journal.schema.json" in capsys.readouterr().err
    assert main(["drill", "report", "none.jsonl"]) == 1
    assert "cannot read the journal none.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ({"scenario": "site-cut"}, "and site-cut in other.jsonl"),
        ({"expect": ExpectModel(writes="unjudged")}, "and other budgets or expectations in other.jsonl"),
    ],
)
def test_runs_of_two_drills_are_no_repetition(
    began: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drill", "report", str(saved()), str(saved("other.jsonl", **began))]) == 1
    assert f"expected runs of one drill, found {NAME} in j.jsonl {said}" in capsys.readouterr().err
