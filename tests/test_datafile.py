"""Shell scripts, templates and SQL are files of their own, and the wheel has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tercet import datafile

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tercet"
SCRIPTS = sorted(SOURCE.rglob("*.sh"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package, whose name is that of its folder."""
    (tmp_path / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path.parent)
    return tmp_path


def test_a_file_has_the_values_that_are_given(package: Path) -> None:
    (package / "look.sh").write_text('cd @FOLDER@ && head -n @LINES@ "$1"@example\n')
    text = datafile.text_of(package.name, "look.sh", FOLDER="/srv", LINES=3)
    assert text == 'cd /srv && head -n 3 "$1"@example\n'


@pytest.mark.parametrize("values", [{}, {"FOLDER": "/srv", "LINES": 3}])
def test_a_value_too_few_or_too_many_is_refused(package: Path, values: dict[str, object]) -> None:
    (package / "look.sh").write_text("cd @FOLDER@\n")
    with pytest.raises(ValueError, match=re.escape("found ['FOLDER']")):
        datafile.text_of(package.name, "look.sh", **values)


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    expected = {
        str(path.relative_to(ROOT / "src")) for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert expected <= set(ZipFile(wheel).namelist())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_names_its_shell_and_says_what_it_does(script: Path) -> None:
    first, second, *_ = script.read_text().splitlines()
    assert first in ("#!/bin/sh", "#!/bin/bash")
    assert second.startswith("# ")
