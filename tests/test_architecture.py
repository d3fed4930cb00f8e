"""The shape of the source itself: imports point one way, and files stay one idea long."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLANNED = ("converge", "providers", "operations", "cli")  # what makes plans, shows them or carries them out
SOURCES = sorted((ROOT / "src" / "tercet").rglob("*.py"))


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_module_says_what_it_is_for() -> None:
    silent = [path.relative_to(ROOT) for path, tree in _trees() if tree.body and not ast.get_docstring(tree)]
    assert not silent


def test_the_text_of_a_plan_is_parsed_nowhere() -> None:
    """A change's verb and target are values (converge/target.py). Their text is for people."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in _trees()
        if path.relative_to(ROOT / "src" / "tercet").parts[0] in PLANNED
        for node in ast.walk(tree)
        if _parses(node)
    ]
    assert not found


def _parses(node: ast.AST) -> bool:
    """`change.what.split(…)` and the like, `change.verb == "create"`, or `match change.verb` with texts."""
    match node:
        case ast.Attribute(value=ast.Attribute(attr="what"), attr=method):
            return hasattr(str, method)
        case ast.Compare(left=ast.Attribute(attr="verb" | "what" | "made")):
            return any(
                isinstance(each, ast.Constant | ast.Set | ast.Tuple) and _texts(each) for each in node.comparators
            )
        case ast.Match(subject=ast.Attribute(attr="verb" | "what" | "made")):
            return any(_texts(case.pattern) for case in node.cases)
    return False


def _texts(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in ast.walk(node))


def test_no_assert_in_the_source() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_only_the_public_standard_library_is_imported() -> None:
    found = []
    for path, tree in _trees():
        for node in ast.walk(tree):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            private = [name for name in names if name == "posix" or (name.startswith("_") and name != "__future__")]
            found += [f"{path.relative_to(ROOT)}:{node.lineno}: {name}" for name in private]
    assert not found


def _trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]
