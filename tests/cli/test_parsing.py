"""Words to commands: global options anywhere, `--` untouched, mistakes answered with what was meant."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tercet.cli import commands
from tercet.cli.command import GLOBALS, Command, Group
from tercet.cli.invocation import Invocation
from tercet.cli.main import main
from tercet.cli.registry import tercet
from tercet.inventory.providers import declarations

PROBE = """
import click
from tercet.cli.command import Command, Section

CALLS = []

@click.command("probe", cls=Command, help="run something", section=Section.LOOK, rest="CMD…")
@click.argument("node", metavar="NODE")
@click.pass_obj
def cli(call, node):
    CALLS.append((call, node))
    return 0
"""

REHEARSE = """
import click
from tercet.cli.command import Group, Section

CALLS = []
cli = Group("rehearse", help="failures", section=Section.PROOF)

@cli.command("list", help="list them")
def list_():
    return 0

@cli.command("run", help="run one")
@click.argument("name", metavar="NAME")
@click.option("--json", "journal", metavar="FILE")
@click.pass_obj
def run(call, name, journal):
    CALLS.append((call, name, journal))
    return 0
"""


@pytest.fixture
def more_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands of the shapes that the built-in ones have, added as files, as any command is."""
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "rehearse.py").write_text(REHEARSE)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])


def call(*words: str) -> tuple[Any, ...]:
    """What one of them is called with: the invocation, then its own arguments."""
    assert main(words) == 0
    name = "rehearse" if "rehearse" in words else "probe"
    called: tuple[Any, ...] = sys.modules[f"{commands.__name__}.{name}"].CALLS.pop()
    return called


def invocation(*words: str) -> Invocation:
    found = call(*words, "--", "ls")[0]
    assert isinstance(found, Invocation)
    return found


def every_command() -> Iterator[tuple[list[str], Command]]:
    """The words that name it, and the command; the commands of a group too."""
    ctx = click.Context(tercet)
    for name in tercet.list_commands(ctx):
        command = tercet.get_command(ctx, name)
        assert command is not None
        yield [name], command
        if isinstance(command, Group):
            for inner, each in command.commands.items():
                assert isinstance(each, Command)
                yield [name, inner], each


EVERY = [pytest.param(words, command, id=" ".join(words)) for words, command in every_command()]


@pytest.mark.usefixtures("more_commands")
@pytest.mark.parametrize(
    "words",
    [
        ["-f", "a.yml", "--lab", "--json", "-v", "--no-color", "probe", "n"],
        ["probe", "n", "-f", "a.yml", "--lab", "--json", "-v", "--no-color"],
        ["--lab", "-fa.yml", "probe", "--json", "--no-color", "n", "--verbose"],
        ["-vf", "a.yml", "--no-color", "--json", "probe", "n", "--lab"],
        ["--file=a.yml", "--no-color", "probe", "--json", "-v", "n", "--lab"],
    ],
)
def test_global_options_stand_before_and_after_the_command(words: list[str]) -> None:
    given = invocation(*words)
    assert given == Invocation(Path("a.yml"), provider="lab", json=True, verbose=True, color=False, rest=("ls",))


@pytest.mark.usefixtures("more_commands")
def test_without_options_the_defaults_hold() -> None:
    given = invocation("probe", "n")
    assert given == Invocation(Path("tercet.yml"), provider="", json=False, verbose=False, color=True, rest=("ls",))


def test_the_option_for_the_lab_names_the_first_provider() -> None:
    (option,) = (option for option in GLOBALS if option.name == "provider")
    first = declarations()[0].name
    assert (option.opts, option.flag_value) == ([f"--{first}"], first)


@pytest.mark.usefixtures("more_commands")
def test_the_later_option_wins() -> None:
    assert invocation("-f", "a.yml", "probe", "n", "-f", "b.yml").file == Path("b.yml")


@pytest.mark.usefixtures("more_commands")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_what_follows_the_dashes_is_untouched(rest: list[str]) -> None:
    given, node = call("--lab", "probe", "db-sib-01", "--json", "--", *rest)
    assert given.rest == tuple(rest)
    assert node == "db-sib-01"
    assert given.json and given.provider == "lab"


@pytest.mark.usefixtures("more_commands")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["probe", "db-sib-01"], "Expected CMD… after --, found nothing."),
        (["probe", "db-sib-01", "--"], "Expected CMD… after --, found nothing."),
        (["probe", "db-sib-01", "ls", "--", "ls"], "Got unexpected extra argument (ls)"),
        (["probe", "--", "ls"], "Missing argument 'NODE'."),
        (["validate", "--", "ls"], "It takes nothing after --."),
        (["probe", "db-sib-01", "ls"], "extra argument (ls) Arguments of the program go after --."),
        (["probe", "db-sib-01", "ls", "-l"], "No such option '-l'. Arguments of the program go after --."),
        (["probe", "db-sib-01", "--jsn", "--", "ls"], "No such option '--jsn'. Did you mean '--json'?"),
        (["psql", "sib-01", "-c", "SELECT 1"], "Arguments of the program go after --."),
        (["validate", "--jsno"], "No such option '--jsno'. Did you mean '--json'?"),
        (["--jsno", "validate"], "No such option '--jsno'. Did you mean '--json'?"),
        (["validate", "--zzz"], "No such option '--zzz'.\n"),
        (["-f"], "Option '-f' requires an argument."),
        ([], "Missing command."),
        (["vaildate"], "Did you mean `tercet validate`?"),
        (["zzz"], "Expected one of "),
        (["rehearse"], "Usage: tercet rehearse [OPTIONS] list|run …\n"),
        (["rehearse", "rnu"], "Did you mean `tercet rehearse run`?"),
        (["rehearse", "--foo", "run"], "No such option '--foo'."),
        (["help", "vaildate"], "Did you mean `tercet validate`?"),
        (["help", "drill", "rnu"], "Did you mean `tercet drill run`?"),
        (["drill", "run", "x", "--repeat", "0"], "'--repeat': expected a number from 1 to 100, found 0"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_leaves_with_1(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("tercet: ") and "\nMore:  tercet" in said.err
    assert said.out == ""


@pytest.mark.usefixtures("more_commands")
def test_a_usage_error_shows_the_usage_with_what_follows_the_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "db-sib-01"]) == 1
    assert "Usage: tercet probe [OPTIONS] NODE -- CMD…\nMore:  tercet probe --help\n" in capsys.readouterr().err


@pytest.mark.usefixtures("more_commands")
def test_a_command_in_a_group_knows_the_global_options_of_every_level() -> None:
    given, name, _ = call("--lab", "rehearse", "-v", "run", "site-loss", "-f", "a.yml")
    assert name == "site-loss"
    assert given == Invocation(Path("a.yml"), provider="lab", verbose=True)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["help"], "Usage: tercet [OPTIONS] COMMAND …"),
        (["help", "drill", "run"], "Usage: tercet drill run "),
        (["-v", "help", "plan"], "Usage: tercet plan "),
        (["drill", "-h"], "Usage: tercet drill [OPTIONS] list|run|soak|intruder|report …"),
        (["version"], "tercet 0."),
        (["--version"], "tercet 0."),
    ],
)
def test_help_and_version_are_words_and_options(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(shown)


@pytest.mark.usefixtures("more_commands")
def test_a_command_may_give_a_global_option_a_meaning_of_its_own() -> None:
    given, _, journal = call("rehearse", "run", "site-loss", "--json", "out.json")
    assert journal == "out.json"
    assert not given.json
    given, _, journal = call("--json", "rehearse", "run", "site-loss")
    assert journal is None
    assert given.json


@pytest.mark.parametrize(("words", "command"), EVERY)
def test_every_command_helps_with_examples(
    words: list[str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert command.help and command.help in " ".join(shown.split())
    assert "Global options:" in shown and "-f, --file FILE" in shown
    assert command.examples or isinstance(command, Group)
    for example, does in command.examples:
        assert example in shown and does in shown


@pytest.mark.parametrize(("words", "command"), EVERY)
def test_every_example_is_a_command_line_that_parses(words: list[str], command: Command) -> None:
    for example, _ in command.examples:
        line = example.removeprefix('eval "$(').removesuffix(')"').split(" | ")[0].split(" > ")[0]
        program, *rest = shlex.split(line)
        assert program == "tercet"
        parses(rest, words)


def parses(line: list[str], words: list[str]) -> None:
    """UsageError where a line does not parse; AssertionError where it is no line of the command of those words."""
    ctx = tercet.make_context("tercet", line, obj=Invocation())
    named: list[str] = []
    while isinstance(group := ctx.command, Group):
        name, command, rest = group.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        named.append(name or "")
        ctx = command.make_context(name, rest, parent=ctx)
    assert named == words


def test_the_overview_names_every_command_that_is_not_hidden_in_its_section(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for words, command in every_command():
        if len(words) == 1 and not command.hidden:
            assert command.section
            section = shown.split(f"{command.section.value}:\n")[1].split("\n\n")[0]
            assert f"\n  {words[0]} " in f"\n{section}"
    assert "\n  help " not in shown


@pytest.mark.parametrize("content", ["cli = None\n", "from tercet.cli.commands.plan import cli\n"])
def test_a_module_without_a_command_of_its_name_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "hollow.py").write_text(content)
    monkeypatch.delitem(sys.modules, f"{commands.__name__}.hollow", raising=False)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    with pytest.raises(TypeError, match="hollow"):
        main(["hollow"])
