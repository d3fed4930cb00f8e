"""The shape of the source itself: imports point one way, and files stay one idea long."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tercet.inventory.providers import PROVIDERS

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


def test_a_provider_is_named_in_its_own_package_alone() -> None:
    """Others ask `declarations()` or open the provider that the inventory names (inventory/providers.py)."""
    found = []
    for package in PROVIDERS:
        folder, name = ROOT / "src" / package.replace(".", "/"), package.rpartition(".")[2]
        for path, tree in _trees():
            if folder not in path.parents:
                found += [f"{path.relative_to(ROOT)}:{node.lineno}" for node in _naming(tree, package, name)]
    assert not found


def _naming(tree: ast.Module, package: str, name: str) -> Iterator[ast.Import | ast.ImportFrom | ast.Compare]:
    """`import` of the package, or a comparison with its name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(one.name.startswith(package) for one in names):
                yield node
            case ast.ImportFrom(module=str(module)) if module.startswith(package):
                yield node
            case ast.ImportFrom(module="tercet.providers", names=names) if name in {one.name for one in names}:
                yield node
            case ast.Compare() if any(isinstance(one, ast.Constant) and one.value == name for one in ast.walk(node)):
                yield node


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
