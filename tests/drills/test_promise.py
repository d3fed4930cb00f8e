"""A promise is one file: what registers itself is in the scenario file's check, in the schema and in the verdict."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tercet.converge.component import Passing, Readings
from tercet.drills import journal, promise
from tercet.drills.discovery import discover
from tercet.drills.judge import promises as folder
from tercet.drills.judge.case import journaled
from tercet.drills.run.live import OBSERVED, Scene, observed
from tercet.drills.scenario.file import ScenarioError, parse
from tercet.inventory.platform import Platform

from .sample import Drill
from .sample import judge as judged

FILE = b"name: rain\ntitle: It rains\npromise: it stops\nfaults: [{kill: the primary}]\nexpect: {promises: [%s]}\n"
SAMPLE = """
from tercet.drills.judge.case import Answer, Case, journaled

@journaled("no rain")
def _no_rain(case: Case) -> Answer:
    return False, "it rained"
"""


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """The promises after a test are those before it."""
    promise.names()
    with pytest.MonkeyPatch.context() as patch:
        for promises in (journaled, OBSERVED):
            patch.setattr(promises, "_promised", dict(promises._promised))
        yield


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more file among those of the promises, found as they are."""
    (tmp_path / "rain.py").write_text(SAMPLE)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    discover.cache_clear()
    yield
    sys.modules.pop(f"{folder.__name__}.rain", None)


def test_an_unknown_promise_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(ScenarioError, match="standbys complete"):
        parse(FILE % b"no rain", "rain.yml")


@pytest.mark.usefixtures("sample")
def test_a_file_among_the_promises_is_all_that_a_promise_takes() -> None:
    scenario = parse(FILE % b"no rain", "rain.yml")
    assert scenario.expect.promises == ("no rain",)
    assert "no rain" in promise.names()
    assert '"no rain"' in journal.schema_text()
    told = judged(Drill().entries(), scenario)
    assert [(one.name, one.held) for one in told.promises] == [("no rain", False)]
    assert "broken: no rain (it rained)" in told.reasons


def test_a_promise_may_ask_the_running_platform(platform: Platform) -> None:
    observed("no snow")(lambda _scene: (lambda _readings: Passing("dry"), {}))
    found = OBSERVED.get("no snow")
    assert found is not None
    check, asked = found.look(Scene(platform, frozenset(), "job"))
    assert (check(Readings({})), asked) == (Passing("dry"), {})
    assert parse(FILE % b"no snow", "snow.yml").expect.promises == ("no snow",)


def test_two_promises_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two promises of the name 'standbys complete'"):
        observed("standbys complete")(lambda _scene: (lambda _readings: Passing(), {}))
