"""The documents name commands, options, files, drills and daemons that exist, and open with prose."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tercet.components.context import Context
from tercet.components.registry import components
from tercet.converge.resources import Unit
from tercet.drills import promise
from tercet.drills.scenario.fault import FOLDER, kinds
from tercet.drills.scenario.file import built_in
from tercet.inventory.providers import PROVIDERS
from tests.components.conftest import context  # noqa: F401

ROOT = Path(__file__).parent.parent
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md")
ALL = (*PAGES, ROOT / "CHANGELOG.md")
SPECIFICATION = ROOT / "docs" / "specification.md"
# A reader of the sources starts at the top or in the package.
STARTS = (ROOT, ROOT / "src" / "tercet", ROOT / "src" / "tercet" / "components", ROOT / "docs")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", ALL, ids=named)


def code(text: str) -> Iterator[str]:
    """What stands in backticks, line by line, and the lines of code blocks."""
    for number, part in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)):
        if number % 2:
            yield from part.splitlines()
        else:
            yield from re.findall(r"`([^`]+)`", part.replace("\n", " "))


@cache
def help_of(*words: str) -> str | None:
    """What `tercet WORDS --help` prints; None where there is no such command."""
    argv = [sys.executable, "-m", "tercet.cli.main", *words, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else None


def commands(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The words of each command of tercet in the code of a page, and the whole line without its comment."""
    for written in code(text):
        line = written.split("  #")[0].strip().removeprefix("sudo ").removeprefix(".venv/bin/")
        if match := re.match(r"tercet (?:-\S+ )*([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?", line):
            yield tuple(word for word in match.groups() if word), line


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [each for each in targets if "://" not in each and not (page.parent / each).exists()] == []


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    wrong = []
    for words, line in commands(page.read_text()):
        said = help_of(*words)  # of a command that has no commands of its own, the second word is an argument
        options = re.findall(r"(?<!\S)--[a-z]+", line.split(" -- ")[0])
        if said is None or any(option not in said for option in options):
            wrong.append(line)
    assert wrong == []


@every_page
def test_files_of_the_project_exist(page: Path) -> None:
    named_files = [
        word
        for line in code(page.read_text())
        for word in re.findall(r"(?<![\w/.~-])(?:[a-z_]+/)+[\w-]+\.(?:py|md|yml|json)\b", line)
    ]
    assert [word for word in named_files if not any((start / word).exists() for start in STARTS)] == []


@every_page
def test_drills_and_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    drills = {name for _, line in commands(text) for name in re.findall(r" drill run (\S+)", line)}
    targets = {line.split()[1] for line in code(text) if re.match(r"make [a-z]", line)}
    makefile = (ROOT / "Makefile").read_text()
    assert {drill for drill in drills if not drill.endswith(".yml") and drill != "NAME"} <= set(built_in())
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_opens_with_three_sentences(page: Path) -> None:
    first = page.read_text().split("\n\n")[1]
    assert not first.startswith(("|", "```", "-", "#", "!")), "a page opens with prose"
    assert len(re.findall(r"[.?](?:\s|$)", first)) >= 3, first


def test_the_drills_of_the_specification_exist() -> None:
    failures = SPECIFICATION.read_text().partition("## Failures")[2].partition("\n## ")[0]
    rows = [line.rsplit("|", 2)[1] for line in failures.splitlines() if line.startswith("| ")][1:]
    drills = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert drills and drills <= set(built_in())


def test_every_fault_and_promise_of_drills_is_explained() -> None:
    text = (ROOT / "docs" / "drills.md").read_text()
    faults = re.findall(r"^\| `(\w+)` \| .* \| (.*)\|$", text, re.MULTILINE)
    needs = {kind: f"`{model.needs}` " if model.needs else "" for kind, model in kinds().items()}
    disk = "its data on a disk of its own, at most 64 GiB "
    promises = set(re.findall(r"^\| ([a-z0-9 ]+) \|", text, re.MULTILINE))
    assert faults == [(kind, disk if kinds()[kind].asks else need) for kind, need in needs.items()]
    assert set(promise.names()) - promises == set()


def to_add(what: str) -> str:
    """What the page on architecture says of it, up to the next one."""
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## To add something")[2]
    return section.partition(f"\n**{what}**")[2].partition("\n**")[0]


def test_what_the_page_says_a_provider_needs_is_what_the_providers_have() -> None:
    part = to_add("A provider")
    assert "`PROVIDERS` (`inventory/providers.py`)" in part
    assert {"declaration.py", "provider.py"} <= set(re.findall(r"`([\w.]+)`", part))
    for package in (*PROVIDERS, "tests.sample_provider"):
        assert import_module(f"{package}.declaration").DECLARATION
        assert callable(import_module(f"{package}.provider").opened)


def test_what_the_page_says_a_fault_needs_is_all_that_the_sample_has() -> None:
    part = to_add("A fault")
    folder = re.findall(r"`(drills/[\w/]+/)`", part)[0]
    assert import_module(FOLDER).__path__ == [str(ROOT / "src" / "tercet" / folder)]
    assert {model.__module__.rpartition(".")[0] for model in kinds().values()} == {FOLDER}
    assert (ROOT / "tests" / "sample_fault").is_dir() and "`drills/scenario/fault.py`" in part


def test_the_specification_lists_every_daemon(context: Context) -> None:  # noqa: F811
    """Where a daemon of tercet's own comes or goes, the page says what it is for."""
    platform = context.platform
    units = {
        resource.name.split(".")[0]
        for component in components(context)
        for node in platform.containers
        for resource in component.desired(node)
        if isinstance(resource, Unit) and resource.name.startswith("tercet-")
    }
    table = SPECIFICATION.read_text().partition("## tercet's own daemons")[2]
    assert set(re.findall(r"^\| `(tercet-\w+)`", table, re.MULTILINE)) == units
