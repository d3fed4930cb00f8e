"""What a shell is offered: commands, options, names of the inventory; never an error in the line that is typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from tercet.cli.complete import drill_names
from tercet.cli.invocation import COMPLETE, Invocation
from tercet.cli.main import main
from tercet.cli.registry import tercet
from tercet.drills.scenario.file import built_in

SITES = ["sib-01", "sib-03", "fsn-01"]
SCRIPT = """
source ./script
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_tercet_completion tercet
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(*words: str) -> list[str]:
    """What the last word, which may be empty, could become."""
    found = ShellComplete(tercet, {"obj": Invocation()}, "tercet", COMPLETE)
    return [item.value for item in found.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options_are_offered() -> None:
    assert offered("sw") == ["switchover"]
    assert "version" not in offered("")
    assert offered("drill", "") == ["list", "run", "soak", "intruder", "report"]
    assert offered("drill", "run", "site-cut", "--re") == ["--repeat", "--report"]
    assert offered("plan", "--la") == ["--lab"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["exec", "db-"], ["db-sib-01", "db-sib-03", "db-fsn-01"]),
        (["shell", "apps-f"], ["apps-fsn-01"]),
        (["aside", "remove", "db-f"], ["db-fsn-01"]),
        (["psql", ""], SITES),
        (["switchover", "--to", "sib"], SITES[:2]),
        (["consul", "recover", ""], SITES),
        (["drill", "run", "x", "--site", "f"], ["fsn-01"]),
        (["recover", "dcs", "--leader", "db-f"], ["db-fsn-01"]),
    ],
)
def test_names_are_those_of_the_inventory_wherever_it_is_named(
    inventory_file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], names: list[str]
) -> None:
    assert offered("-f", str(inventory_file), *words) == names
    assert offered(words[0], "-f", str(inventory_file), *words[1:]) == names
    monkeypatch.chdir(inventory_file.parent)
    assert offered(*words) == names


@pytest.mark.parametrize("content", [None, "platfrom: x\n", "\0"])
def test_without_a_valid_inventory_nothing_is_offered_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("tercet.yml").write_text(content)
    assert offered("exec", "") == []
    assert capsys.readouterr() == ("", "")


def test_drills_are_offered_by_the_names_that_their_files_give_them() -> None:
    assert offered("drill", "run", "site-c") == ["site-cut", "site-cut-patroni-killed", "site-cut-without-primary"]
    assert drill_names(None, None, "") == sorted(built_in())  # type: ignore[arg-type]


def test_bash_completes_with_the_printed_script(
    inventory_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["completion", "bash"]) == 0
    inventory_file.with_name("script").write_text(capsys.readouterr().out)
    inventory_file.with_name("complete").write_text(SCRIPT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "complete", "tercet", "exec", "db-s"],
        cwd=inventory_file.parent, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["db-sib-01", "db-sib-03"], done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_the_other_shells_are_understood_by_them(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert f"{COMPLETE}={shell}_complete" in script.read_text()
    if program := shutil.which(shell):
        subprocess.run([program, "-n", script], check=True, timeout=60)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 1
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
