"""Shell scripts, templates and SQL are files of their own, and the wheel has them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tercet import datafile

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tercet"
SCRIPTS = sorted(SOURCE.rglob("*.sh"))
TEXTS = [
    *SCRIPTS,
    *(each for form in ("ctmpl", "nft", "service", "sql", "timer") for each in SOURCE.rglob(f"*.{form}")),
]

# A line of a shell script, of SQL or of a template, by words that no sentence has.
MARKS = re.compile(
    r"""^\#!/
    | \b(then|do|fi|done|esac)$ | \\$ | \|\|\ (exit|return|\{) | >/dev/null
    | \$\(\S | "\$[\w@*] | ^\s*(exec|export|umask)\s
    | ^\s*(SELECT|INSERT\ INTO|UPDATE|DELETE\ FROM|ALTER|CREATE|DROP|GRANT|WITH)\s | ^\s*(SET\s\w+\s=|DO\s\$|BEGIN;)
    | \{\{-?\ .*\}\}""",
    re.MULTILINE | re.VERBOSE,
)
# A program that runs on nodes is one file and carries its text with it.
EXCEPT = (SOURCE / "nodeside",)


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


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_a_text_is_read_by_a_module_beside_it(text: Path) -> None:
    assert any(f'"{text.name}"' in module.read_text() for module in text.parent.glob("*.py"))


def test_no_module_has_a_script_a_template_or_sql_of_several_lines() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip().splitlines()[0]}"
        for path in sorted(SOURCE.rglob("*.py"))
        if not any(each in path.parents for each in EXCEPT)
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if "\n" in text.strip() and MARKS.search(text)
    ]
    assert not found


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """All texts but docstrings, with their lines; a value that is put into one is left out."""
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in spoken:
                yield node.lineno, text
            case ast.JoinedStr(values=parts):
                fixed = (str(part.value) if isinstance(part, ast.Constant) else "" for part in parts)
                yield node.lineno, "".join(fixed)
