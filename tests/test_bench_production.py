"""A bench that missed its goal does not end as if it had met it."""

from __future__ import annotations

import importlib
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.mark.parametrize(("plans", "status", "said"), [([4.9, 9.0, 1.0], 0, "met"), ([5.1, 9.0, 1.0], 1, "MISSED")])
def test_productions_exit_status_is_its_judgement(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    plans: list[float],
    status: int,
    said: str,
) -> None:
    monkeypatch.syspath_prepend(BENCH)
    production = importlib.import_module("production")
    farm = SimpleNamespace(obey=lambda *_: "done")

    def measure(_farm: object, label: str, _plans: int, figures: dict[str, Any]) -> None:
        figures[f"plan at {label}"] = plans

    monkeypatch.setattr(production, "raised_farm", lambda *_: nullcontext(farm))
    monkeypatch.setattr(production, "pack", lambda _farm: None)
    monkeypatch.setattr(production, "measure", measure)
    assert production.main(["--output", str(tmp_path / "figures.json")]) == status
    assert f"empty plan at 40 ms: {plans[0]:g} s, goal 5 s {said}" in capsys.readouterr().out
    assert json.loads((tmp_path / "figures.json").read_text())["seconds"]["plan at 40 ms"] == plans
